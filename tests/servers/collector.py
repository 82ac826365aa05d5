"""An OpenTelemetry collector of our own: takes spans by OTLP over HTTP, decodes them, and shows them as a tree."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


@dataclass(frozen=True, slots=True)
class SeenSpan:
    """One span as it arrived. Times in seconds; `process` is its service and process id."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: float
    seconds: float
    is_error: bool
    process: str
    attributes: Mapping[str, Any]
    links: Sequence[str] = ()


@dataclass
class Collector:
    """What came in so far. Filled by the receiver's threads; lists of Python only grow, so readers need no lock."""

    url: str = ""
    spans: list[SeenSpan] = field(default_factory=list)

    def trace(self, trace_id: str) -> Sequence[SeenSpan]:
        """The spans of one trace, oldest first."""
        return sorted((each for each in self.spans if each.trace_id == trace_id), key=lambda each: each.start)

    def named(self, name: str) -> Sequence[SeenSpan]:
        """The spans of this name."""
        return [each for each in self.spans if each.name == name]


def tree(spans: Sequence[SeenSpan]) -> str:
    """One line a span, children below their parents; the process where it changes."""
    known = {each.span_id for each in spans}
    lines: list[str] = []

    def show(parent: str, depth: int, process: str) -> None:
        for each in [span for span in spans if (span.parent_id if span.parent_id in known else "") == parent]:
            where = f"  [{each.process}]" if each.process != process else ""
            lines.append(f"{'  ' * depth}{each.name} ({each.kind}, {each.seconds * 1_000:.1f} ms){where}")
            show(each.span_id, depth + 1, each.process)

    show("", 0, "")
    return "\n".join(lines)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of this machine."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.spans.extend(_decoded(gzip.decompress(body) if self.headers["content-encoding"] else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _decoded(body: bytes) -> Iterator[SeenSpan]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        facts = _attributes(resource.resource.attributes)
        process = f"{facts['service.name']} {facts['process.pid']}"
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield SeenSpan(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    kind=KINDS[span.kind],
                    start=span.start_time_unix_nano / 1e9,
                    seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    is_error=span.status.code == 2,
                    process=process,
                    attributes=_attributes(span.attributes),
                    links=[link.trace_id.hex() for link in span.links],
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
