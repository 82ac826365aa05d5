"""What one caller can do to the others: bodies that drip, answers nobody reads, monstrous and large bodies, figures
asked for without end; beside each what other callers see, and how late the loop is.

`python -m benchmarks.slow_peers [--seconds 6]`. Exit 1 if another caller was refused, or if the liveness route, asked
every 5 ms over one connection, took longer than the bar (p99 ≤ 50 ms).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from benchmarks.machine import report
from benchmarks.processes import Home, Server, demo_home

BENCHMARK = "slow_peers"
BAR_MS = 50.0
SCOPES = ("recs:read", "events:write", "catalog:write", "recs:admin")
SLOW_BODIES, DEAF, PIPELINED = 48, 16, 30


class Watch:
    """Asks for the liveness route, and now and then as another caller, in a thread of its own."""

    def __init__(self, server: Server, home: Home) -> None:
        self._server, self._home = server, home
        self._stop = threading.Event()
        self.seconds: list[float] = []
        self.refused = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        token = self._home.token("user-002", "recs:read")
        with contextlib.closing(HTTPConnection("127.0.0.1", self._server.port, timeout=30)) as connection:
            while not self._stop.wait(0.005):
                started = time.perf_counter()
                connection.request("GET", "/health/live")
                connection.getresponse().read()
                self.seconds.append(time.perf_counter() - started)
                if len(self.seconds) % 20 == 0:
                    connection.request("GET", "/api/v1/recs/user-002", headers={"Authorization": f"Bearer {token}"})
                    answer = connection.getresponse()
                    answer.read()
                    self.refused += answer.status != 200

    def quantile(self, fraction: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * fraction), len(ordered) - 1)] * 1_000


def head(method: str, path: str, token: str, length: int = 0) -> bytes:
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}"]
    if length:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextlib.contextmanager
def connected(server: Server, number: int, receive_bytes: int = 0) -> Iterator[list[socket.socket]]:
    """So many connections."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(number):
            connection = stack.enter_context(socket.socket())
            if receive_bytes:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            connection.connect(("127.0.0.1", server.port))
            opened.append(connection)
        yield opened


def drip(server: Server, home: Home, seconds: float) -> None:
    """Session bodies, a byte per half second."""
    token = home.token("user-001", "recs:read")
    with connected(server, SLOW_BODIES) as slow:
        for connection in slow:
            connection.sendall(head("POST", "/api/v1/recs/session", token, 400) + b'{"history": [')
        for _ in range(int(seconds * 2)):
            time.sleep(0.5)
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(b" ")


def never_read(server: Server, home: Home, seconds: float) -> None:
    """Pipelines of pages of the catalogue whose answers are not read."""
    one = head("GET", "/api/v1/items?limit=100", home.token("user-001", "recs:read"))
    with connected(server, DEAF, receive_bytes=4_096) as deaf:
        for connection in deaf:
            connection.sendall(one * PIPELINED)
        time.sleep(seconds)


def repeated(method: str, path: str, body: bytes) -> Callable[[Server, Home, float], None]:
    """The same request again and again, as an admin, one after the other."""

    def ask(server: Server, home: Home, seconds: float) -> None:
        until = time.monotonic() + seconds
        headers = {"Authorization": f"Bearer {home.token('boss', *SCOPES)}", "Content-Type": "application/json"}
        while time.monotonic() < until:
            connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
            with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
                connection.request(method, path, body or None, headers)
                connection.getresponse().read()

    return ask


def events(number: int) -> bytes:
    """Valid ratings of as many people."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    made = [{"user_id": f"p{n}", "video_id": f"v{n % 500}", "rating": 4.5, "timestamp": at} for n in range(number)]
    return json.dumps(made).encode()


def items(number: int) -> bytes:
    """Valid catalogue entries, as large as fit."""
    made = [{"item_id": f"new-{n}", "title": f"New {n}", "description": "x " * 1_500} for n in range(number)]
    return json.dumps({"items": made}).encode()


def probes() -> dict[str, Callable[[Server, Home, float], None]]:
    """What is done to the server, by name."""
    return {
        "nothing": lambda _server, _home, seconds: time.sleep(seconds),
        "48 dripping bodies": drip,
        "480 pipelined answers unread": never_read,
        "3.6 MB of nested arrays": repeated("POST", "/api/v1/events", b"[" + b"[]," * 1_200_000 + b"[]]"),
        "deep arrays": repeated("POST", "/api/v1/events", b"[" * 1_800_000 + b"]" * 1_800_000),
        "5,000 events": repeated("POST", "/api/v1/events", events(5_000)),
        "1,000 items": repeated("POST", "/api/v1/items/bulk", items(1_000)),
        "figures": repeated("GET", "/metrics", b""),
        "document": repeated("GET", "/openapi.json", b""),
    }


def main() -> int:
    """Exit 0 if nobody else was refused and the bar held under each probe."""
    parser = argparse.ArgumentParser(prog=BENCHMARK, description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        home = demo_home(
            Path(folder), ENCORE_SERVICE_RATE_LIMIT_PER_MINUTE="10000000", ENCORE_RATE_LIMIT_PER_MINUTE="1000000"
        )
        with home.serve() as server:
            for name, probe in probes().items():
                with Watch(server, home) as watch:
                    probe(server, home, given.seconds)
                p99 = watch.quantile(0.99)
                facts = {"p50_ms": round(watch.quantile(0.5), 2), "worst_ms": round(max(watch.seconds) * 1_000, 1)}
                report(BENCHMARK, f"{name}: p99", p99, "ms", asked=len(watch.seconds), refused=watch.refused, **facts)
                missed = missed or watch.refused > 0 or p99 > BAR_MS
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
