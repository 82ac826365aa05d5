"""What no running service shows at will: slow, broken and strange answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import encore_client as ec
import httpx
import pytest
from encore_client import AsyncEncore, AsyncEventBatcher, BatcherOptions, Encore, RetryPolicy, ops
from encore_client.errors import retry_after
from encore_client.models import ItemInteracted

LIST = {"recommendations": [], "pagination": {"next_cursor": None}}
EVENT: ItemInteracted = {"user_id": "u1", "item_id": "v1", "kind": "view", "timestamp": 0}
POLICY = RetryPolicy(retries=3, base_delay=0.001, max_delay=1.0, random=lambda: 0.0)
Answer = Callable[[httpx.Request], httpx.Response]


def says(status: int, body: Any = None, **headers: str) -> Answer:
    return lambda _: httpx.Response(
        status, json=body or {}, headers={name.replace("_", "-"): v for name, v in headers.items()}
    )


def refuses(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def is_slow(_: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("slow")


def stores(request: httpx.Request) -> httpx.Response:
    results = [
        {"index": index, "outcome": "accepted", "event_id": event["event_id"], "reason": None, "field": None}
        for index, event in enumerate(json.loads(request.content))
    ]
    return httpx.Response(202, json={"results": results})


class Script:
    """Answers one after the other; the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = answers
        self.sent: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return self.answers[min(len(self.sent), len(self.answers)) - 1](request)

    def client(self, **more: Any) -> Encore:
        return Encore("http://encore.test", "t", retry=POLICY, transport=httpx.MockTransport(self), **more)

    def async_client(self) -> AsyncEncore:
        return AsyncEncore("http://encore.test", "t", retry=POLICY, transport=httpx.MockTransport(self))


def test_reads_are_sent_again_after_no_answer_503_and_429() -> None:
    script = Script(refuses, says(503), says(429, retry_after="0"), says(200, LIST))
    assert script.client().run(ops.popular_items())["recommendations"] == []
    assert len(script.sent) == 4


@pytest.mark.parametrize(("answer", "tries"), [(says(503), 1), (refuses, 1), (says(429), 4)])
def test_a_rollback_is_sent_again_only_when_it_was_refused(answer: Answer, tries: int) -> None:
    script = Script(answer)
    with pytest.raises(ec.EncoreError):
        script.client().run(ops.rollback_model())
    assert len(script.sent) == tries


async def test_events_are_sent_again_with_the_very_same_ids() -> None:
    script = Script(refuses, stores)
    async with script.async_client() as encore:
        await encore.run(ops.send_events([EVENT]))
    assert script.sent[0].content == script.sent[1].content
    assert b"event_id" in script.sent[0].content


def test_where_the_service_asks_for_more_patience_than_we_have_its_refusal_is_raised() -> None:
    script = Script(says(429, retry_after="60"))
    with pytest.raises(ec.RateLimitedError) as refused:
        script.client().run(ops.popular_items())
    assert (refused.value.retry_after_seconds, len(script.sent)) == (60, 1)


def test_slow_answers_and_strange_ones() -> None:
    with pytest.raises(ec.NoAnswerInTimeError):
        Script(is_slow).client().run(ops.popular_items())
    with pytest.raises(ec.ServerError):
        Script(says(500)).client().run(ops.popular_items(), retry=RetryPolicy(retries=0))
    with pytest.raises(ec.PermissionDeniedError):
        Script(lambda _: httpx.Response(403, text="<html>")).client().run(ops.popular_items())


def test_retry_after_in_both_forms() -> None:
    at = datetime(1970, 1, 1, 0, 0, 4, tzinfo=UTC)
    assert retry_after(httpx.Response(429, headers={"retry-after": "7"})) == 7
    assert retry_after(httpx.Response(429, headers={"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}), at) == 6
    assert retry_after(httpx.Response(429, headers={"retry-after": "soon"})) is None
    assert retry_after(httpx.Response(429)) is None


def test_answers_are_remembered_up_to_a_number() -> None:
    script = Script(says(200, LIST, etag='"1"'))
    client = script.client(etag_entries=1)
    for limit in (1, 2, 1):
        client.run(ops.popular_items(limit=limit))
    assert [request.headers.get("if-none-match") for request in script.sent] == [None, None, None]
    client.run(ops.popular_items(limit=1, explain=None))
    client.run(ops.popular_items(limit=1, explain=None))
    assert script.sent[-1].headers["if-none-match"] == '"1"'


async def test_the_batcher_fills_requests_in_order_and_takes_no_more_than_it_has_room_for() -> None:
    script = Script(stores)
    async with script.async_client() as encore:
        batcher = AsyncEventBatcher(encore, BatcherOptions(max_batch=3, max_queue=4, linger=0.001))
        sends = [asyncio.create_task(batcher.send({**EVENT, "value": number})) for number in range(8)]
        highest = 0
        while not all(send.done() for send in sends):
            highest = max(highest, batcher.pending)
            await asyncio.sleep(0)
        await batcher.flush()
    assert highest <= 4
    values = [event["value"] for request in script.sent for event in json.loads(request.content)]
    assert sorted(values) == list(range(8))
    assert values[:4] == [0, 1, 2, 3]


async def test_closing_while_the_service_is_away_names_the_events_whose_storage_is_not_known() -> None:
    script = Script(says(503))
    async with script.async_client() as encore:
        batcher = AsyncEventBatcher(encore, BatcherOptions(linger=0, max_delay=0.005))
        waiting = asyncio.create_task(batcher.send({**EVENT, "event_id": "a"}))
        await asyncio.sleep(0.02)
        assert [event.get("event_id") for event in await batcher.close(timeout=0.05)] == ["a"]
        with pytest.raises(ec.BatcherClosedError):
            await waiting
        with pytest.raises(ec.BatcherClosedError):
            await batcher.send(EVENT)


async def test_refused_credentials_are_told_to_everybody_in_the_request() -> None:
    async with Script(says(401)).async_client() as encore:
        batcher = AsyncEventBatcher(encore)
        found = await asyncio.gather(batcher.send(EVENT), batcher.send(EVENT), return_exceptions=True)
        assert [type(error) for error in found] == [ec.AuthenticationError, ec.AuthenticationError]


def test_impossible_sizes_are_refused() -> None:
    for options in ({"max_batch": 0}, {"max_batch": 10, "max_queue": 5}):
        with pytest.raises(ValueError, match="max_"):
            BatcherOptions(**options)  # type: ignore[arg-type]
