"""Hostile bytes on the socket of the real process (H17–H27, O5)."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.api.processes import HOST, JSON, Process, post, read_all, serving
from tests.integration.api.running_service import build

MANY_HEADERS = b"".join(b"X%d: 1\r\n" % number for number in range(2_000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One process for the tests that leave it standing."""
    folder = tmp_path_factory.mktemp("served")
    build(folder)
    with serving(folder) as process:
        yield process


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
            assert server.is_alive()
            time.sleep(0.2)
        for name, connection in connections:
            answer = b""
            with contextlib.suppress(ConnectionError):
                while chunk := connection.recv(65_536):
                    answer += chunk
            if name == "half a body":
                assert answer.startswith(b"HTTP/1.1 408")
            connection.close()
    finally:
        stop.set()
        thread.join()
