"""The relay against a real outbox table: at least once, in order per key, nothing of work that was rolled back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from app import telemetry
from app.application.outgoing.outbox_relay import OutboxRelay, RelayPolicy
from app.domain.entities import OutboxMessage, SourceOffset
from app.domain.exceptions import BrokerUnavailableError, DatabaseUnavailableError, InputError, StaleTokenError
from app.domain.stores import Database, IngestBatch
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from app.infrastructure.events.memory_publisher import MemoryPublisher

TOPIC = "profile-service.video-rated.dlq"
START = datetime(2026, 1, 2, tzinfo=UTC)


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def message(number: int, key: str = "k", payload: bytes = b"{}") -> OutboxMessage:
    return OutboxMessage(UUID(int=number), TOPIC, key, payload, {}, START)


async def write(database: Database, *messages: OutboxMessage) -> None:
    await database.interactions.ingest(IngestBatch([], messages=messages))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/encore.db"
    await asyncio.to_thread(migrate, url)
    opened = await open_database(url, pool_size=2, timeout_seconds=5, lease_seconds=60)
    yield opened
    await opened.close()


class Broker(MemoryPublisher):
    """Fails on demand, before or after it has taken some of the messages."""

    def __init__(self) -> None:
        super().__init__(keep=100_000)
        self.fail_after: list[int | None] = []

    async def publish(self, messages: Sequence[OutboxMessage]) -> None:
        if any(b"huge" in sent.payload for sent in messages):
            raise InputError("too large")
        cut = self.fail_after.pop(0) if self.fail_after else None
        await super().publish(messages[:cut] if cut is not None else messages)
        if cut is not None:
            raise BrokerUnavailableError("away")

    def ids(self) -> list[int]:
        return [sent.message_id.int for sent in self.messages]


def relay_of(database: Database, broker: Broker, clock: Clock, **policy: float) -> OutboxRelay:
    return OutboxRelay(
        database.outbox,
        database.dead_letters,
        broker,
        clock,
        RelayPolicy(batch=10, idle_seconds=0.01, first_backoff_seconds=0.01, **policy),
    )


async def test_what_waits_goes_out_in_order_and_once(database: Database) -> None:
    broker, clock = Broker(), Clock()
    await write(database, *(message(number) for number in range(25)))
    relay = relay_of(database, broker, clock)
    assert [await relay.run_once() for _ in range(4)] == [10, 10, 5, 0]
    assert broker.ids() == list(range(25))
    assert await database.outbox.pending() == 0


async def test_a_batch_the_broker_did_not_take_is_kept_and_goes_out_before_the_next(database: Database) -> None:
    broker, clock = Broker(), Clock()
    broker.fail_after = [4, 0]
    await write(database, *(message(number) for number in range(12)))
    relay = relay_of(database, broker, clock)
    for _ in range(2):
        with pytest.raises(BrokerUnavailableError):
            await relay.run_once()
    await relay.run_once()
    await relay.run_once()
    assert broker.ids() == [0, 1, 2, 3, *range(12)]
    assert await database.outbox.pending() == 0


async def test_a_message_no_broker_will_take_becomes_a_dead_letter_and_holds_up_nobody(database: Database) -> None:
    broker, clock = Broker(), Clock()
    await write(database, message(1), message(2, payload=b"huge"), message(3))
    await relay_of(database, broker, clock).run_once()
    assert broker.ids() == [1, 3]
    assert [letter.reason for letter in await database.dead_letters.list(5)] == ["refused_by_broker"]
    assert await database.outbox.pending() == 0


async def test_what_a_dead_relay_held_goes_out_when_its_lease_is_over(database: Database) -> None:
    broker, clock = Broker(), Clock()
    await write(database, message(1), message(2))
    await database.outbox.claim(10, clock.now, 60.0)
    relay = relay_of(database, broker, clock)
    assert await relay.run_once() == 0
    clock.now = START + timedelta(seconds=61)
    assert await relay.run_once() == 2


async def test_events_of_rolled_back_work_never_go_out(database: Database) -> None:
    broker, clock = Broker(), Clock()
    offset = SourceOffset("t", 0, 5, "e")
    await database.interactions.ingest(IngestBatch([], offsets=[(0, offset)], messages=[message(1)]))
    with pytest.raises(StaleTokenError):
        await database.interactions.ingest(IngestBatch([], offsets=[(3, offset)], messages=[message(2)]))
    await relay_of(database, broker, clock).run_once()
    assert broker.ids() == [1]


async def test_the_loop_waits_an_outage_out_and_stops_at_once_when_told(database: Database) -> None:
    broker, clock, stopping = Broker(), Clock(), asyncio.Event()
    broker.fail_after = [0, 0, 0]
    await write(database, message(1))
    running = asyncio.create_task(relay_of(database, broker, clock).run(stopping))
    async with asyncio.timeout(60):
        while True:
            await asyncio.sleep(0.01)
            if not await database.outbox.pending():
                break
        stopping.set()
        await running
    assert broker.ids() == [1]


async def test_what_waits_is_shown_while_the_broker_is_away(database: Database) -> None:
    broker, clock, stopping = Broker(), Clock(), asyncio.Event()
    broker.fail_after = [0] * 1_000
    await write(database, message(1), message(2))
    running = asyncio.create_task(relay_of(database, broker, clock).run(stopping))
    async with asyncio.timeout(60):
        while True:
            await asyncio.sleep(0.01)
            if telemetry.REGISTRY.get_sample_value("encore_outbox_pending") == 2:
                break
    stopping.set()
    await running


async def test_relays_that_die_at_random_points_publish_the_committed_set_in_order_per_key(database: Database) -> None:
    """E8: killed a hundred times between claim, publish and mark; a tenth of the transactions is rolled back."""
    dice, broker, clock = random.Random(8), Broker(), Clock()
    committed: list[int] = []
    number = 0
    for kill in range(100):
        for _ in range(3):
            number += 1
            before = -1 if dice.random() < 0.1 else 0
            offset = SourceOffset(f"t{number}", 0, 1, "e")
            batch = IngestBatch([], offsets=[(before, offset)], messages=[message(number, f"k{number % 4}")])
            try:
                await database.interactions.ingest(batch)
                committed.append(number)
            except StaleTokenError:
                assert before == -1
        await kill_somewhere(relay_of(database, broker, clock, lease_seconds=10.0), broker, dice)
        clock.now = START + timedelta(seconds=20 * (kill + 1))
    while await relay_of(database, broker, clock, lease_seconds=10.0).run_once():
        pass
    first_seen = list(dict.fromkeys(broker.ids()))
    assert sorted(first_seen) == committed
    for key in range(4):
        assert [seen for seen in first_seen if seen % 4 == key] == [seen for seen in committed if seen % 4 == key]


async def kill_somewhere(relay: OutboxRelay, broker: Broker, dice: random.Random) -> None:
    """What kill -9 does to a relay: it dies after claiming, within publishing, or before marking."""
    broker.fail_after = [dice.choice([None, 0, 1, 2])]
    if dice.random() < 0.5:
        running = asyncio.ensure_future(relay.run_once())
        await asyncio.sleep(dice.random() * 0.01)
        running.cancel()
        await asyncio.wait({running})
    else:
        try:
            await relay.run_once()
        except (BrokerUnavailableError, DatabaseUnavailableError):
            broker.fail_after = []
