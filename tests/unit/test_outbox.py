"""Events out: the relay keeps order and loses nothing; the background queue is bounded and counts what it loses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from app.application.outgoing.outbox_relay import BackgroundEvents
from app.application.outgoing.outgoing_events import RecommendationsRefreshed, to_message
from app.application.waiting import Backoff, wait_unless
from app.domain.entities import OutboxMessage
from app.domain.exceptions import BrokerUnavailableError, InputError
from app.infrastructure.events.memory_publisher import MemoryPublisher

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def refreshed(number: int) -> RecommendationsRefreshed:
    return RecommendationsRefreshed(user_id=f"u{number}", recommendation_ids=("v1",), model_id=None, timestamp=NOW)


class FlakyPublisher(MemoryPublisher):
    """A broker that is away for the first `outages` calls and never takes a payload that says `huge`."""

    def __init__(self, outages: int = 0) -> None:
        super().__init__()
        self.outages = outages

    async def publish(self, messages: Sequence[OutboxMessage]) -> None:
        if self.outages:
            self.outages -= 1
            raise BrokerUnavailableError("away")
        if any(b"huge" in message.payload for message in messages):
            raise InputError("too large")
        await super().publish(messages)


def users(publisher: MemoryPublisher) -> list[str]:
    return [message.key for message in publisher.messages]


async def test_background_events_are_published_in_order() -> None:
    publisher, stopping = MemoryPublisher(), asyncio.Event()
    events = BackgroundEvents(publisher, lambda: NOW, batch=2)
    running = asyncio.create_task(events.run(stopping))
    for number in range(5):
        events.offer(refreshed(number), "00-trace-01")
    for _ in range(20):
        await asyncio.sleep(0)
    stopping.set()
    await running
    assert users(publisher) == ["u0", "u1", "u2", "u3", "u4"]
    assert publisher.messages[0].headers == {"traceparent": "00-trace-01"}
    assert msgspec.json.decode(publisher.messages[0].payload) == {
        "user_id": "u0",
        "recommendation_ids": ["v1"],
        "model_id": None,
        "timestamp": "2026-01-02T00:00:00Z",
        "explored_place": None,
        "propensity": 1.0,
    }


async def test_a_full_background_queue_drops_the_oldest_and_counts_it() -> None:
    publisher = MemoryPublisher()
    events = BackgroundEvents(publisher, lambda: NOW, capacity=2)
    for number in range(5):
        events.offer(refreshed(number))
    assert len(events) == 2
    assert await events.flush(1.0) == 0
    assert users(publisher) == ["u3", "u4"]
    assert events.dropped == 3


async def test_flush_at_shutdown_gives_up_when_the_broker_is_away_and_counts_what_it_drops() -> None:
    publisher = FlakyPublisher(outages=99)
    events = BackgroundEvents(publisher, lambda: NOW, batch=2)
    for number in range(3):
        events.offer(refreshed(number))
    assert await events.flush(0.2) == 3
    assert len(events) == 0


async def test_a_background_batch_that_failed_goes_out_again_under_the_same_ids() -> None:
    publisher = FlakyPublisher(outages=1)
    events = BackgroundEvents(publisher, lambda: NOW)
    events.offer(refreshed(1))
    with pytest.raises(BrokerUnavailableError):
        await events._publish_some()
    ids = [message.message_id for message in events._in_hand]
    assert await events.flush(1.0) == 0
    assert [message.message_id for message in publisher.messages] == ids


def test_an_outgoing_event_is_keyed_so_that_its_order_holds() -> None:
    message = to_message(refreshed(7), NOW, new_id=lambda: UUID(int=1))
    assert (message.key, message.topic) == ("u7", "recommendation-service.recommendations-refreshed")
    assert message.message_id == UUID(int=1)


def test_pauses_grow_to_their_bound_and_start_again_after_success() -> None:
    backoff = Backoff(first_seconds=1.0, max_seconds=4.0)
    pauses = [backoff.next_seconds() for _ in range(50)]
    assert 0.5 <= pauses[0] <= 1.0
    assert 1.0 <= pauses[1] <= 2.0
    assert all(2.0 <= pause <= 4.0 for pause in pauses[2:])
    backoff.reset()
    assert backoff.next_seconds() <= 1.0


async def test_a_pause_ends_at_once_when_the_process_stops() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().call_soon(stopping.set)
    async with asyncio.timeout(60):
        await wait_unless(stopping, 60)
