"""Hostile bytes on the socket of the real process (H17–H27, O3, O5): `encore serve`, as production starts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.integration.api.house import SECRET, bearer
from tests.integration.api.house import build as build_house

FAN = "crime-fan-3"
HOST = b"Host: localhost\r\n"


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
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
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


@contextlib.contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Process]:
    """`encore serve` over a folder."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENCORE_")} | {
        "ENCORE_ENVIRONMENT": "test",
        "ENCORE_JWT_SECRET": SECRET,
        "ENCORE_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/encore.db",
        "ENCORE_ARTIFACTS_URL": f"file:{folder}/artifacts",
        "ENCORE_ARTIFACT_COPIES": f"{folder}/copies",
        "ENCORE_PORT": str(port),
        "ENCORE_RATE_LIMIT_PER_MINUTE": "1000000",
        **settings,
    }
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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One process for the tests that leave it standing."""
    folder = tmp_path_factory.mktemp("served")
    build_house(folder)
    with serving(folder) as process:
        yield process


def post(headers: bytes, body: bytes = b"", path: bytes = b"/api/v1/recs/session") -> bytes:
    token = bearer("boss", "recs:read")["Authorization"].encode()
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"Authorization: " + token + b"\r\n" + headers + b"\r\n" + body


MANY_HEADERS = b"".join(b"X%d: 1\r\n" % number for number in range(2_000))
JSON = b"Content-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("case", "raw", "statuses"),
    [
        ("H22 CL and TE", post(JSON + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), {400}),
        ("H22 TE and CL", post(JSON + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), {400}),
        ("H22 chunked, identity", post(JSON + b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"), {400}),
        ("H22 space before colon", post(JSON + b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"), {400}),
        ("H22 bare LF in extension", post(JSON + b"Transfer-Encoding: chunked\r\n", b"1;a\n\nx\r\n0\r\n\r\n"), {400}),
        ("H22 bad chunk size", post(JSON + b"Transfer-Encoding: chunked\r\n", b"zz\r\nx\r\n"), {400}),
        ("H23 negative", post(JSON + b"Content-Length: -1\r\n"), {400}),
        ("H23 plus", post(JSON + b"Content-Length: +5\r\n", b"[]   "), {400}),
        ("H23 hex", post(JSON + b"Content-Length: 0x10\r\n", b"[]"), {400}),
        ("H23 two lengths", post(JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n", b"[] "), {400}),
        ("H17 declared 100 MB", post(JSON + b"Content-Length: 104857600\r\n", b"{"), {413}),
        ("H24 70 KB header", b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 70_000 + b"\r\n\r\n", {431}),
        ("H24 endless header", b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 500_000, {431}),
        ("H25 2,000 headers", b"GET / HTTP/1.1\r\n" + HOST + MANY_HEADERS + b"\r\n", {431}),
        ("H26 70 KB path", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {414, 400}),
        ("H26 500 KB path", b"GET /" + b"a" * 500_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {414, 431}),
        ("H27 raw 0xff", b"GET /api/v1/recs/\xff HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
        ("raw NUL", b"GET /api/v1/recs/a\x00b HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
        ("H28 control in header", b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n", {400}),
        ("H28 bare CR in header", b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rY: b\r\n\r\n", {400}),
        ("H31 CONNECT", b"CONNECT example.com:443 HTTP/1.1\r\n" + HOST + b"\r\n", {400, 404, 405}),
        ("H31 TRACE", b"TRACE /health HTTP/1.1\r\n" + HOST + b"\r\n", {405}),
        ("absolute address", b"GET http://evil.example/health/live HTTP/1.1\r\n" + HOST + b"\r\n", {200, 400}),
        ("asterisk", b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", {400, 404}),
        ("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100, {400}),
        ("HTTP/0.9", b"GET /\r\n\r\n", {200, 400}),
        ("HTTP/3.7", b"GET / HTTP/3.7\r\n" + HOST + b"\r\n", {400}),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
        ("websocket", b"GET /api/v1/recs/u1 HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", {401}),
        ("J28 huge token", b"GET /api/v1/recs/u1 HTTP/1.1\r\n" + HOST + b"Authorization: Bearer " + b"a" * 12_000
         + b"\r\n\r\n", {401, 431}),
        ("J30 two authorizations", b"GET /api/v1/recs/u1 HTTP/1.1\r\n" + HOST
         + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", {400}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_bytes_that_are_no_honest_request_are_refused(
    server: Process, case: str, raw: bytes, statuses: set[int]
) -> None:
    answer = server.send(raw)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 "), (case, answer[:200])
    status = int(answer[9:12])
    assert status in statuses, (case, answer[:300])
    if status >= 400:
        assert b"content-type: application/problem+json" in head
        document = json.loads(body)
        assert document["status"] == status
        assert document["request_id"]
    assert server.is_alive()


def test_a_smuggled_second_request_is_never_answered(server: Process) -> None:
    inner = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
    for headers, body in (
        (b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\nG"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: identity, chunked\r\n", b"0\r\n\r\n"),
    ):
        answer = server.send(post(JSON + headers, body + inner))
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"alive" not in answer


def test_a_body_without_end_is_cut_off(server: Process) -> None:
    """H17, H18: the connection closes long before 100 MB."""
    for headers, unit in ((b"Content-Length: 104857600\r\n", b"x" * 65_536),
                          (b"Transfer-Encoding: chunked\r\n", b"10000\r\n" + b"x" * 65_536 + b"\r\n")):  # fmt: skip
        sent = 0
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(post(JSON + headers))
            with contextlib.suppress(OSError):
                while sent < 104_857_600:
                    sent += connection.send(unit)
            answer = read_all(connection)
        assert sent < 8_388_608
        assert answer == b"" or answer.startswith(b"HTTP/1.1 413")
    assert server.is_alive()


def test_requests_one_after_the_other_on_one_connection_are_all_answered(server: Process) -> None:
    one = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(one * 20)
        received = b""
        while received.count(b"alive") < 20:
            received += connection.recv(65_536)
    assert received.count(b"HTTP/1.1 200") == 20


@pytest.mark.slow
def test_clients_that_stall_are_closed_and_the_others_notice_nothing(server: Process) -> None:
    """H19–H21, O5: half a head, no bytes at all, half a body, an idle connection; each gone within ten seconds."""
    openings = {
        "nothing": b"",
        "half a head": b"GET /api/v1/recs/u1 HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        "half a body": post(JSON + b"Content-Length: 10\r\n", b'{"his'),
        "idle": b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n",
    }
    connections: list[tuple[str, socket.socket]] = []
    for name, opening in openings.items():
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=15)
            connection.sendall(opening)
            connections.append((name, connection))
    drip = [connection for name, connection in connections if name == "half a head"]
    started = time.monotonic()
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(0.5):
            for connection in drip:
                with contextlib.suppress(OSError):
                    connection.sendall(b"a")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        while time.monotonic() - started < 7:
            asked = time.monotonic()
            assert server.is_alive()
            assert time.monotonic() - asked < 1.0
            time.sleep(0.2)
        for name, connection in connections:
            answer = b""
            with contextlib.suppress(ConnectionError):
                while chunk := connection.recv(65_536):
                    answer += chunk
            assert time.monotonic() - started < 11, name
            if name == "half a body":
                assert answer.startswith(b"HTTP/1.1 408")
            connection.close()
    finally:
        stop.set()
        thread.join()


def test_while_draining_it_is_not_ready_and_answers_all_the_same(tmp_path: Path) -> None:
    """O3: load balancers get time to notice; whoever comes until then is served."""
    build_house(tmp_path)
    with serving(tmp_path, ENCORE_DRAIN_SECONDS="2") as server:
        statuses: list[int] = []
        has_noticed = threading.Event()

        def ask() -> None:
            while not has_noticed.is_set():
                with contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
                    connection.request("GET", f"/api/v1/recs/{FAN}", headers=bearer(FAN))
                    answer = connection.getresponse()
                    answer.read()
                    statuses.append(answer.status)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        before = len(statuses)
        probe = server.send(b"GET /health/ready HTTP/1.1\r\n" + HOST + b"\r\n")
        assert probe.startswith(b"HTTP/1.1 503")
        assert b"problem+json" in probe
        assert server.send(b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n").startswith(b"HTTP/1.1 200")
        has_noticed.set()
        for thread in threads:
            thread.join()
        assert len(statuses) > before
        assert set(statuses) == {200}
        assert server.process.wait(25) == 0
        for line in server.log.read_text().splitlines():
            json.loads(line)


def test_a_stop_waits_for_what_is_in_flight_and_ends_with_zero(tmp_path: Path) -> None:
    build_house(tmp_path)
    body = json.dumps({"history": ["crime-01"]}).encode()
    with serving(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(post(JSON + b"Content-Length: %d\r\n" % len(body), body[:5]))
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert server.process.poll() is None
            connection.sendall(body[5:])
            assert read_all(connection).startswith(b"HTTP/1.1 200")
        assert server.process.wait(25) == 0


def test_a_second_interrupt_ends_the_drain(tmp_path: Path) -> None:
    build_house(tmp_path)
    with serving(tmp_path, ENCORE_DRAIN_SECONDS="60") as server:
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0


def test_it_does_not_start_on_a_database_without_its_schema(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENCORE_")} | {
        "ENCORE_ENVIRONMENT": "test",
        "ENCORE_JWT_SECRET": SECRET,
        "ENCORE_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/empty.db",
        "ENCORE_ARTIFACTS_URL": f"file:{tmp_path}/artifacts",
    }
    run = subprocess.run(
        [sys.executable, "-m", "app.cli", "serve"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 1
    assert "encore migrate" in run.stderr
    assert len(run.stderr.splitlines()) == 1
