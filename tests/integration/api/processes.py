"""The real process, `encore serve`, and raw bytes to and from it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from tests.integration.api.running_service import SECRET, bearer

FAN = "crime-fan-3"
HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"


@dataclass(frozen=True)
class Process:
    """A server process and where it listens."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def send(self, raw: bytes, wait_seconds: float = 5.0) -> bytes:
        """Everything that comes back until the server closes or says nothing more for a while."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait_seconds) as connection:
            with contextlib.suppress(ConnectionError):  # it may close before it has read everything
                connection.sendall(raw)
            return read_all(connection)

    def is_alive(self) -> bool:
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", f"/api/v1/recs/{FAN}", headers=bearer(FAN))
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while chunk := connection.recv(65_536):
            received += chunk
            head, _, body = received.partition(b"\r\n\r\n")
            if b"content-length: " in head:
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                if len(body) >= length:
                    break
    return received


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment_of(folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a process that serves a folder; nothing of ours leaks in from outside."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ENCORE_")}
    return clean | {
        "ENCORE_ENVIRONMENT": "test",
        "ENCORE_JWT_SECRET": SECRET,
        "ENCORE_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/encore.db",
        "ENCORE_ARTIFACTS_URL": f"file:{folder}/artifacts",
        "ENCORE_ARTIFACT_COPIES": f"{folder}/copies",
        "ENCORE_RATE_LIMIT_PER_MINUTE": "1000000",
        **settings,
    }


@contextlib.contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Process]:
    """`encore serve` over a folder."""
    port = free_port()
    environment = environment_of(folder, ENCORE_PORT=str(port), **settings)
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve"], env=environment, stdout=output, stderr=output
        )
    server = Process(process, port, log)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                if server.is_alive():
                    break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def post(headers: bytes, body: bytes = b"", path: bytes = b"/api/v1/recs/session") -> bytes:
    token = bearer("boss", "recs:read")["Authorization"].encode()
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"Authorization: " + token + b"\r\n" + headers + b"\r\n" + body
