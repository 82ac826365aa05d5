"""A closed-loop load generator: N connections, each sends its next request when it has its answer.

Runs as a process of its own, so that it can be pinned to another core than the server:

    python -m benchmarks.load --port 8080 --connections 32 --seconds 5 REQUESTS

REQUESTS is a JSON file: a list of [path, headers]. Prints one JSON object: requests, failures, seconds, latencies.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import socket
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.machine import processor_seconds

Request = tuple[str, Mapping[str, str]]
ANSWER_BYTES = 65_536
"""One read takes a whole answer of the usual kind."""

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Result:
    """What the load saw. Latencies in milliseconds; processor time per request of the load and, if asked, the server.

    The load's own time says what it could do: where `load_us` is near 1e6 / rate, the load was the limit.
    """

    requests: int
    failures: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    load_us: float = 0.0
    server_us: float = 0.0

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


class Connection:
    """One connection of the load. `rest` are bytes of an answer that has not come whole."""

    __slots__ = ("rest", "sent_at", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.rest = b""
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        """Send the next request; it is small and there is nothing else on the way."""
        self.sent_at = time.perf_counter()
        self.socket.send(request)

    def take(self) -> int | None:
        """Read what is there: the status of a whole answer, 0 when the connection is gone, None if there is more."""
        try:
            data = self.socket.recv(ANSWER_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        if not data:
            return 0
        answer = self.rest + data if self.rest else data
        end = _answer_end(answer)
        if end is None or len(answer) < end:
            self.rest = answer
            return None
        self.rest = b""
        return int(answer[9:12])


def _answer_end(buffer: bytes) -> int | None:
    head = buffer.find(b"\r\n\r\n")
    if head < 0:
        return None
    at = buffer.find(b"content-length:", 0, head)
    if at < 0:  # uvicorn writes names in lower case: the copy is only for other servers
        at = buffer.lower().find(b"content-length:", 0, head)
    length = int(buffer[at + 15 : buffer.index(b"\r\n", at)]) if at >= 0 else 0
    return head + 4 + length


def drive(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Result:
    """Put the load on 127.0.0.1:`port` for `seconds`. Requests are taken in a shuffled order, round and round."""
    order = list(requests)
    random.Random(7).shuffle(order)
    opened = [Connection(port) for _ in range(connections)]
    latencies, failures = array("d"), 0
    epoll, by_number = select.epoll(), {connection.socket.fileno(): connection for connection in opened}
    started, processor_started = time.perf_counter(), time.process_time()
    deadline, place = started + seconds, 0
    for number, connection in by_number.items():
        epoll.register(number, select.EPOLLIN)
        connection.send(order[place % len(order)])
        place += 1
    while by_number:
        ready = epoll.poll(PATIENCE_SECONDS)
        if not ready:
            failures += len(by_number)
            break
        for number, _ in ready:
            connection = by_number[number]
            status = connection.take()
            if status is None:
                continue
            now = time.perf_counter()
            latencies.append(now - connection.sent_at)
            failures += status != 200
            if now < deadline and status:
                connection.send(order[place % len(order)])
                place += 1
            else:
                epoll.unregister(number)
                by_number.pop(number).socket.close()
    elapsed, processor = time.perf_counter() - started, time.process_time() - processor_started
    epoll.close()
    ordered = sorted(latencies)
    return Result(
        requests=len(ordered),
        failures=failures,
        seconds=elapsed,
        p50_ms=_quantile(ordered, 0.50),
        p95_ms=_quantile(ordered, 0.95),
        p99_ms=_quantile(ordered, 0.99),
        load_us=processor / max(len(ordered), 1) * 1e6,
    )


def _quantile(ordered: Sequence[float], fraction: float) -> float:
    return ordered[min(int(len(ordered) * fraction), len(ordered) - 1)] * 1_000 if ordered else 0.0


def raw(request: Request) -> bytes:
    """A GET request as bytes."""
    path, headers = request
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def put_load(
    port: int,
    requests: Sequence[Request],
    *,
    connections: int = 32,
    seconds: float = 5.0,
    core: int | None = None,
    server_pid: int | None = None,
) -> Result:
    """Run this module in a process of its own, pinned to `core` where given, and return what it saw."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([[path, dict(headers)] for path, headers in requests], file)
        file.flush()
        command = [sys.executable, "-m", "benchmarks.load", "--port", str(port), "--connections", str(connections)]
        command += ["--seconds", str(seconds), *([] if core is None else ["--core", str(core)]), file.name]
        before = processor_seconds(server_pid) if server_pid is not None else 0.0
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True)
        used = processor_seconds(server_pid) - before if server_pid is not None else 0.0
    seen = Result(**json.loads(done.stdout))
    return replace(seen, server_us=used / max(seen.requests, 1) * 1e6)


def main() -> None:
    """The process that makes the load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--core", type=int)
    parser.add_argument("requests", type=Path)
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    requests = [raw((path, headers)) for path, headers in json.loads(options.requests.read_text())]
    result = drive(options.port, requests, options.connections, options.seconds)
    print(json.dumps({name: getattr(result, name) for name in Result.__dataclass_fields__}))


if __name__ == "__main__":
    main()
