"""Peers that send slowly, or do not read, cost others nothing: real sockets to the real process."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection

import pytest

from app.application.credentials import SCOPES
from tests.integration.api.processes import FAN, HOST, JSON, Process, post, read_all, serving
from tests.integration.api.running_service import bearer, build, rated

PLACES = 4
SLOW = 48


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One process with few places, and a catalog whose pages are large."""
    folder = tmp_path_factory.mktemp("served")
    build(folder)
    with serving(folder, ENCORE_MAX_CONCURRENT_REQUESTS=str(PLACES)) as process:
        items = [
            {
                "item_id": f"crime-{number:02}",
                "title": f"Long {number}",
                "genres": ["Crime"],
                "description": "x" * 19_000,
            }
            for number in range(20)
        ]
        for half in (items[:10], items[10:]):
            assert ask(process, "POST", "/api/v1/items/bulk", "boss", SCOPES, {"items": half})[0] == 200
        yield process


def ask(
    server: Process, method: str, path: str, user: str, scopes: Sequence[str], body: object = None
) -> tuple[int, dict[str, str]]:
    """(status, headers) of one request on a connection of its own."""
    with contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        headers = bearer(user, *scopes)
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, headers | ({"Content-Type": "application/json"} if content else {}))
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def others(server: Process, seconds: float) -> list[int]:
    """The statuses that other callers see meanwhile: an event, a page of the catalog, a list, round and round."""
    until, statuses = time.monotonic() + seconds, []
    while time.monotonic() < until:
        statuses.append(
            ask(server, "POST", "/api/v1/events", "u7", ["events:write"], rated("u7", "comedy-01"))[0],
        )
        statuses.append(ask(server, "GET", "/api/v1/items/comedy-01", "u8", ["recs:read"])[0])
        statuses.append(ask(server, "GET", f"/api/v1/recs/{FAN}", FAN, ["recs:read"])[0])
    return statuses


def test_bodies_that_drip_hold_no_places(server: Process) -> None:
    """48 sessions that came a byte per half second made everybody's events and catalog reads 503."""
    stop, refused = threading.Event(), 0
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5)) for _ in range(SLOW)
        ]
        for connection in slow:
            connection.sendall(post(JSON + b"Content-Length: 400\r\n", b'{"history": ['))

        def drip() -> None:
            while not stop.wait(0.5):
                for connection in slow:
                    with contextlib.suppress(OSError):
                        connection.sendall(b" ")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            statuses = others(server, 4.0)
            for connection in slow:
                connection.settimeout(0.05)
                refused += read_all(connection).startswith(b"HTTP/1.1 429")
        finally:
            stop.set()
            dripping.join()
    assert set(statuses) == {200, 202}
    assert refused == SLOW - 24


@pytest.mark.slow
def test_answers_that_nobody_reads_hold_no_places_and_end(server: Process) -> None:
    """480 pipelined large answers on four places made 138 of 152 answers 503 for forty seconds."""
    one = (
        b"GET /api/v1/items?limit=100 HTTP/1.1\r\n"
        + HOST
        + f"Authorization: {bearer()['Authorization']}\r\n\r\n".encode()
    )
    with contextlib.ExitStack() as stack:
        deaf = []
        for _ in range(16):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.settimeout(15)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(one * 30)
            deaf.append(connection)
        time.sleep(2.0)  # until every one of them waits for its client
        assert set(others(server, 3.0)) == {200, 202}
        # Each ends: cut off, or idle after its last answer; how much fits into buffers is the kernel's matter.
        for connection in deaf:
            with contextlib.suppress(ConnectionError):
                while connection.recv(1 << 20):
                    pass


def test_more_requests_in_a_pipeline_than_may_wait_are_not_answered_and_the_connection_ends_behind_the_last(
    server: Process,
) -> None:
    one = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(one * 200)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
    assert received.count(b"HTTP/1.1 200") == 33
    assert received.count(b"connection: close") == 1


def test_an_aborted_pipeline_leaves_no_error_in_the_log(server: Process) -> None:
    before = len(server.log.read_text())
    one = (
        b"GET /api/v1/items?limit=100 HTTP/1.1\r\n"
        + HOST
        + f"Authorization: {bearer()['Authorization']}\r\n\r\n".encode()
    )
    session = post(JSON + b"Content-Length: 24\r\n", b'{"history": ["crime-01"]}'[:24])
    for requests in (one * 20, session * 20, one * 3 + session[:-5]):
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
                connection.sendall(requests)
                time.sleep(0.02)
    assert server.is_alive()
    said = server.log.read_text()[before:]
    assert '"level": "error"' not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("case", "raw", "status"),
    [
        (
            "no credentials",
            b"POST /api/v1/recs/session HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 2\r\n\r\n{}",
            b"401",
        ),
        ("not allowed", post(JSON + b"Content-Length: 2\r\n", b"{}", b"/api/v1/items/bulk"), b"403"),
        ("nothing there", post(JSON + b"Content-Length: 2\r\n", b"{}", b"/api/v1/nothing"), b"404"),
        ("too large", post(JSON + b"Content-Length: 70000\r\n", b"{}"), b"413"),
        ("too large for people", post(JSON + b"Content-Length: 70000\r\n", b"{}", b"/api/v1/events"), b"403"),
        ("a body where none is read", b"GET /health/live HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}", b"200"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_connection_whose_body_was_not_read_is_closed(server: Process, case: str, raw: bytes, status: bytes) -> None:
    after = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(raw)
        received = b""
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65_536):
                received += chunk
                with contextlib.suppress(OSError):
                    connection.sendall(after)
    assert received.startswith(b"HTTP/1.1 " + status), case
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close\r\n" in received


@pytest.mark.parametrize(
    ("case", "head"),
    [
        ("none", b"GET /health/live HTTP/1.1\r\n\r\n"),
        ("two", b"GET /health/live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("two alike", b"GET /health/live HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        ("two, old", b"GET /health/live HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("not a host", b"GET /health/live HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("two names", b"GET /health/live HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_names_one_host(server: Process, case: str, head: bytes) -> None:
    assert server.send(head).startswith(b"HTTP/1.1 400"), case


@pytest.mark.parametrize("host", [b"localhost", b"127.0.0.1:8080", b"[::1]:8080", b"x_y.example", b""])
def test_every_kind_of_host_is_one(server: Process, host: bytes) -> None:
    assert server.send(b"GET /health/live HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_http_1_0_needs_no_host(server: Process) -> None:
    assert server.send(b"GET /health/live HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")
