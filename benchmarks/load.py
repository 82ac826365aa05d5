"""A closed-loop load generator: N connections, each sends its next request when it has its answer.

Runs as a process of its own, so that it can be pinned to another core than the server:

    python -m benchmarks.load --port 8080 --connections 32 --seconds 5 REQUESTS

REQUESTS is a JSON file: a list of [path, headers]. Prints one JSON object: requests, failures, seconds, latencies.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

Request = tuple[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Result:
    """What the load saw. Latencies in milliseconds."""

    requests: int
    failures: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


class Connection(asyncio.Protocol):
    """One connection of the load: send, wait for the whole answer, note the time, send the next."""

    def __init__(self, requests: Sequence[bytes], latencies: array[float], deadline: float, seed: int) -> None:
        self._requests = requests
        self._latencies = latencies
        self._deadline = deadline
        self._random = random.Random(seed)
        self._buffer = b""
        self._sent = 0.0
        self.failures = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class does not inherit from it
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = _answer_end(self._buffer)
        if end is None or len(self._buffer) < end:
            return
        now = time.perf_counter()
        self._latencies.append(now - self._sent)
        if self._buffer[9:12] != b"200":
            self.failures += 1
        self._buffer = self._buffer[end:]
        if now < self._deadline:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self._deadline:
            self.failures += 1
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._random.choice(self._requests))


def _answer_end(buffer: bytes) -> int | None:
    head = buffer.find(b"\r\n\r\n")
    if head < 0:
        return None
    at = buffer.find(b"content-length:", 0, head)
    if at < 0:  # uvicorn writes names in lower case: the copy is only for other servers
        at = buffer.lower().find(b"content-length:", 0, head)
    length = int(buffer[at + 15 : buffer.index(b"\r\n", at)]) if at >= 0 else 0
    return head + 4 + length


async def drive(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Result:
    """Put the load on 127.0.0.1:`port` for `seconds`."""
    latencies: array[float] = array("d")
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(
            lambda seed=seed: Connection(requests, latencies, started + seconds, seed),  # type: ignore[misc]  # mypy cannot see defaults of a lambda
            "127.0.0.1",
            port,
        )
        for seed in range(connections)
    ]
    await asyncio.wait_for(asyncio.gather(*(connection.done for _, connection in opened)), seconds + 30)
    elapsed = time.perf_counter() - started
    ordered = sorted(latencies)
    return Result(
        requests=len(ordered),
        failures=sum(connection.failures for _, connection in opened),
        seconds=elapsed,
        p50_ms=_quantile(ordered, 0.50),
        p95_ms=_quantile(ordered, 0.95),
        p99_ms=_quantile(ordered, 0.99),
    )


def _quantile(ordered: Sequence[float], fraction: float) -> float:
    return ordered[min(int(len(ordered) * fraction), len(ordered) - 1)] * 1_000 if ordered else 0.0


def raw(request: Request) -> bytes:
    """A GET request as bytes."""
    path, headers = request
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def put_load(
    port: int, requests: Sequence[Request], *, connections: int = 32, seconds: float = 5.0, core: int | None = None
) -> Result:
    """Run this module in a process of its own, pinned to `core` where given, and return what it saw."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([[path, dict(headers)] for path, headers in requests], file)
        file.flush()
        command = [sys.executable, "-m", "benchmarks.load", "--port", str(port), "--connections", str(connections)]
        command += ["--seconds", str(seconds), *([] if core is None else ["--core", str(core)]), file.name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True)
    return Result(**json.loads(done.stdout))


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
    result = uvloop.run(drive(options.port, requests, options.connections, options.seconds))
    print(json.dumps({name: getattr(result, name) for name in Result.__dataclass_fields__}))


if __name__ == "__main__":
    main()
