"""A small HTTP port for processes that serve no HTTP: probes and metrics, answered from a thread of its own.

It answers even while the event loop does not, which is when the answer matters.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

HealthCheck = Callable[[], tuple[bool, Mapping[str, object]]]
"""(whether all is well, what to tell). Called from other threads: reads plain values only."""


class HealthPort:
    """`GET /metrics` and one path a check: 200 or 503, with a JSON object. A context manager."""

    def __init__(self, host: str, port: int, checks: Mapping[str, HealthCheck], registry: CollectorRegistry) -> None:
        self._server = _Server((host, port), checks, registry)
        self._thread = threading.Thread(target=self._server.serve_forever, name="health-port", daemon=True)

    @property
    def port(self) -> int:
        """The port in use; a free one was taken if 0 was asked for."""
        return int(self._server.server_address[1])

    def __enter__(self) -> HealthPort:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=2)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], checks: Mapping[str, HealthCheck], registry: CollectorRegistry
    ) -> None:
        super().__init__(address, _Handler)
        self.checks = checks
        self.registry = registry


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5.0  # a client that sends nothing must not hold a thread
    server_version = "encore"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, content_type, encode(self.server.registry))
        elif path in self.server.checks:
            is_well, facts = self.server.checks[path]()
            status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, "application/json", json.dumps({"ok": is_well, **facts}).encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "application/json", b'{"ok": false}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Probes come every few seconds: nothing worth a line."""

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
