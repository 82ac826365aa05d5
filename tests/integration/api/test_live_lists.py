"""Live lists over real sockets: the list now, then each change of it; limits, resuming, slow readers, the end."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from scripts.requirements_in_step import ROOT
from tests.integration.api.live_reader import Event, EventReader, streaming
from tests.integration.api.processes import Process, serving
from tests.integration.api.running_service import ADMIN, api_key, bearer, build, rated, token, train_again

PER_USER, PLACES = 2, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service's files."""
    made = tmp_path_factory.mktemp("live")
    build(made)
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Process]:
    """One process with few places, few connections and quick signs of life."""
    with serving(
        folder,
        ENCORE_LIVE_CONNECTIONS="5",
        ENCORE_LIVE_CONNECTIONS_PER_USER=str(PER_USER),
        ENCORE_LIVE_HEARTBEAT_SECONDS="0.3",
        ENCORE_JWT_LEEWAY_SECONDS="0",
        ENCORE_MAX_CONCURRENT_REQUESTS=str(PLACES),
        ENCORE_MODEL_POLL_SECONDS="0.2",
    ) as process:
        yield process


def ask(server: Process, method: str, path: str, headers: dict[str, str], body: object = None) -> tuple[int, Any]:
    """(status, body) of one request."""
    with contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {**headers, "Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None


def rate(server: Process, user_id: str, item_id: str) -> None:
    assert ask(server, "POST", "/api/v1/events", bearer(user_id, "events:write"), rated(user_id, item_id))[0] == 202


def items_now(server: Process, user_id: str, query: str = "") -> list[str]:
    found = ask(server, "GET", f"/api/v1/recs/{user_id}{query}", bearer(user_id))[1]
    return [line["item_id"] for line in found["recommendations"]]


def opened(server: Process, user_id: str, query: str = "", **more: Any) -> ClientConnection:
    """A WebSocket as a browser opens it: the token is a subprotocol."""
    protocols = more.pop("subprotocols", ["encore.lists.v1", "encore.bearer." + token(user_id)])
    address = f"ws://127.0.0.1:{server.port}/api/v1/recs/{user_id}/ws{query}"
    made: ClientConnection = connect(address, subprotocols=protocols, open_timeout=20, **more)
    return made


def closing_code(socket: ClientConnection) -> int:
    """What the server says when it closes; all that comes before is read."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            socket.recv(20)
    assert socket.close_code is not None
    return socket.close_code


def first(reader: EventReader) -> Event:
    assert reader.status == 200
    return reader.next("list")


def test_the_list_comes_at_once_and_again_after_an_event(server: Process) -> None:
    with streaming(server.port, "live-1") as reader:
        assert reader.headers["content-type"] == "text/event-stream"
        before = first(reader)
        assert before.items == items_now(server, "live-1")
        rate(server, "live-1", before.items[0])
        after = reader.next("list")
    assert before.items[0] not in after.items
    assert after.id != before.id
    assert after.items == items_now(server, "live-1")
    assert after.data["request_id"] != before.data["request_id"], "each list that is shown can be told from the others"


def test_a_change_of_the_catalog_and_a_promotion_change_it_too(server: Process, folder: Path) -> None:
    with streaming(server.port, "crime-fan-5") as reader:
        before = first(reader)
        gone = before.items[0]
        assert ask(server, "PATCH", f"/api/v1/items/{gone}", ADMIN, {"available": False})[0] == 200
        assert gone not in reader.next("list").items
        assert ask(server, "PATCH", f"/api/v1/items/{gone}", ADMIN, {"available": True})[0] == 200
        assert gone in reader.next("list").items
        promoted = train_again(folder)
        assert reader.next("list").data["model"]["id"] == promoted


def test_who_has_the_list_already_is_told_nothing_until_it_changes(server: Process) -> None:
    with streaming(server.port, "live-2") as reader:
        known = first(reader)
    for by_header in (False, True):
        query, headers = ("", {"Last-Event-ID": str(known.id)}) if by_header else (f"?last_event_id={known.id}", {})
        with streaming(server.port, "live-2", query, headers) as reader:
            assert [reader.next().kind for _ in range(3)] == ["retry", "heartbeat", "heartbeat"]
            rate(server, "live-2", known.items[0])
            known = reader.next("list")
    with streaming(server.port, "live-2", "?last_event_id=from-elsewhere") as reader:
        assert first(reader).id == known.id


def test_streams_hold_no_place_of_work_and_are_limited_by_user_and_in_all(server: Process) -> None:
    wait_until_nobody_is_connected(server)
    with contextlib.ExitStack() as stack:
        for user_id in ("live-3", "live-3", "live-4", "live-4", "live-5"):
            first(stack.enter_context(streaming(server.port, user_id)))
        assert items_now(server, "live-3"), "more streams than places, and requests are answered"
        refused = stack.enter_context(streaming(server.port, "live-6"))
        assert (refused.status, refused.body()["type"].rpartition(":")[2]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
    wait_until_nobody_is_connected(server)
    with contextlib.ExitStack() as stack:
        for _ in range(PER_USER):
            first(stack.enter_context(streaming(server.port, "live-7")))
        refused = stack.enter_context(streaming(server.port, "live-7"))
        assert (refused.status, refused.body()["type"].rpartition(":")[2]) == (429, "rate-limited")
    wait_until_nobody_is_connected(server)


def wait_until_nobody_is_connected(server: Process) -> None:
    """The figure of the metrics, which is also how operators see it; they are up to a second old."""
    time.sleep(1.1)
    deadline = time.monotonic() + 20
    while b"encore_live_connections 0.0" not in server.send(
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    ):
        assert time.monotonic() < deadline, "connections that are gone are still counted"
        time.sleep(0.05)


def test_only_the_owner_and_services_may_listen(server: Process, folder: Path) -> None:
    with streaming(server.port, "crime-fan-1", headers=bearer("somebody-else")) as reader:
        assert (reader.status, reader.body()["status"]) == (403, 403)
    with streaming(server.port, "crime-fan-1", headers={"Authorization": "Bearer x"}) as reader:
        assert reader.status == 401
    key = {"Authorization": f"Bearer {api_key(folder, 'gateway', ['recs:read'])}"}
    with streaming(server.port, "crime-fan-1", headers=key) as reader:
        assert first(reader).data["user_id"] == "crime-fan-1"
    with streaming(server.port, "crime-fan-1", "?limit=0") as reader:
        assert (reader.status, reader.body()["errors"][0]["pointer"]) == (422, "#/limit")
    assert ask(server, "HEAD", "/api/v1/recs/live-1/stream", bearer("live-1"))[0] == 200


def test_it_ends_with_the_credentials(server: Process, folder: Path) -> None:
    short = {"Authorization": f"Bearer {token('live-8', lifetime_seconds=2)}"}
    with streaming(server.port, "live-8", headers=short) as reader:
        first(reader)
        assert reader.next("end").data == {"reason": "credentials_ended"}
        assert reader.is_closed()


def test_a_socket_says_the_same_as_a_stream(server: Process) -> None:
    with opened(server, "live-9") as socket:
        assert socket.subprotocol == "encore.lists.v1"
        before = json.loads(socket.recv(20))
        assert before["event"] == "list"
        items = [line["item_id"] for line in before["list"]["recommendations"]]
        assert items == items_now(server, "live-9")
        rate(server, "live-9", items[0])
        after = next(message for message in map(json.loads, socket) if message["event"] == "list")
        assert items[0] not in [line["item_id"] for line in after["list"]["recommendations"]]
    with opened(server, "live-9", f"?last_event_id={after['id']}") as socket:
        assert json.loads(socket.recv(20)) == {"event": "heartbeat"}
        socket.send("hello")
        assert closing_code(socket) == 1003


def test_a_socket_is_refused_like_any_other_request(server: Process) -> None:
    own = {"subprotocols": ["encore.lists.v1", "encore.bearer." + token("live-9")]}
    for user_id, query, more, status in (
        ("live-9", "", {"subprotocols": ["encore.lists.v1"]}, 401),
        ("live-9", "", {"subprotocols": ["encore.bearer.x"]}, 401),
        ("somebody-else", "", own, 403),
        ("live-9", "?limit=0", own, 422),
        ("live-9", "", {"additional_headers": bearer("live-9"), **own}, 400),
    ):
        with pytest.raises(InvalidStatus) as refused, opened(server, user_id, query, **more):
            pass
        response = refused.value.response
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert json.loads(response.body)["status"] == status
    status, problem = ask(server, "GET", "/api/v1/recs/live-9/ws", bearer("live-9"))
    assert (status, problem["type"].rpartition(":")[2]) == (426, "upgrade-required")
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(
            f"ws://127.0.0.1:{server.port}/api/v1/recs/live-9", additional_headers=bearer("live-9"), open_timeout=20
        ),
    ):
        pass
    assert refused.value.response.status_code == 200, "elsewhere the wish to upgrade is ignored"


def test_a_reader_that_does_not_read_gets_the_newest_list_and_no_backlog(server: Process) -> None:
    events = 40
    with streaming(server.port, "live-10", "?limit=40", receive_bytes=4_096) as reader:
        first(reader)
        for number in range(events):
            rate(server, "live-10", f"{'crime' if number % 2 else 'comedy'}-{number % 20:02}")
        newest = items_now(server, "live-10", "?limit=40")
        shown = 0
        while reader.next("list").items != newest:
            shown += 1
        assert shown < events - 5


@pytest.mark.real_servers
def test_readers_of_a_process_that_dies_resume_at_another(tmp_path: Path, redis_url: str) -> None:
    build(tmp_path)
    both = {"ENCORE_CACHE_URL": redis_url, "ENCORE_LIVE_HEARTBEAT_SECONDS": "0.3"}
    with serving(tmp_path, None, **both) as one, serving(tmp_path, None, **both) as other:
        with streaming(one.port, "u1") as reader:
            before = first(reader)
            rate(other, "u1", before.items[0])
            known = reader.next("list")
            assert before.items[0] not in known.items, "what another process takes in is heard of here"
            one.process.kill()
            with pytest.raises((EOFError, OSError, HTTPException)):
                reader.next("list")
        with streaming(other.port, "u1", headers={"Last-Event-ID": str(known.id)}) as reader:
            assert [reader.next().kind for _ in range(2)] == ["retry", "heartbeat"], "it is the same list there"
            with opened(other, "u1") as socket:
                socket.recv(20)
                began = time.monotonic()
                other.process.send_signal(signal.SIGTERM)
                assert reader.next("end").data == {"reason": "shutting_down"}
                assert closing_code(socket) == 1012
        assert other.process.wait(25) == 0
        assert time.monotonic() - began < 15


def test_the_example_page_shows_a_list_and_its_change(server: Process, browser: Browser) -> None:
    page_text = (ROOT / "docs" / "examples" / "live-list.html").read_text(encoding="utf-8")
    origin = f"http://127.0.0.1:{server.port}"
    page, errors = browser.new_page(), list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    # The page comes from the service's own origin, as behind a gateway; all else is the real service.
    page.route(f"{origin}/live", lambda route: route.fulfill(body=page_text, content_type="text/html"))
    page.goto(f"{origin}/live")
    page.fill("#user", "live-11")
    page.fill("#token", token("live-11"))
    page.click("button")
    page.wait_for_selector("#list li")
    items = page.eval_on_selector_all("#list li", "lines => lines.map(line => line.dataset.item)")
    assert items == items_now(server, "live-11")
    rate(server, "live-11", items[0])
    page.wait_for_selector(f'#list li:not([data-item="{items[0]}"]):first-child')
    assert page.query_selector(f'#list li[data-item="{items[0]}"]') is None
    assert errors == []
