"""The consumer over a log in memory and a real SQLite file: what is read is stored once, whatever fails on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest

from app import telemetry
from app.application.ingestion.batch_planning import PoisonPolicy
from app.application.ingestion.event_types import TOPICS
from app.application.ingestion.record_decoding import decode_records
from app.application.ingestion.stream_consumer import ConsumePolicy, StreamConsumer
from app.application.outgoing.outgoing_events import OUTGOING_EVENTS
from app.domain.entities import IngestResult, SourceOffset
from app.domain.exceptions import CacheUnavailableError, DatabaseUnavailableError
from app.domain.interfaces import Cache, Partition
from app.domain.stores import Database, IngestBatch, InteractionStore
from app.infrastructure.cache.memory_cache import MemoryCache
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from tests.memory_source import MemoryLog, MemorySource

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
RATED = "profile-service.video-rated"
R0, R1 = Partition(RATED, 0), Partition(RATED, 1)
UPSERTED, REMOVED = Partition("catalog-service.item-upserted", 0), Partition("catalog-service.item-removed", 0)
MAX_LAG_SECONDS = 0.5
"""The promise is 0.1; a machine that runs other tests meanwhile holds a loop up longer."""

FAST = ConsumePolicy(poll_seconds=0.01, hint_seconds=0.0, poison=PoisonPolicy(pause_seconds=0.3))


def rated(number: int, **fields: object) -> bytes:
    event = {
        "event_id": str(UUID(int=number)),
        "user_id": f"u{number}",
        "video_id": f"v{number % 3}",
        "rating": 4,
        "timestamp": "2026-11-20T10:00:00Z",
    }
    return json.dumps({**event, **fields}).encode()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/encore.db"
    await asyncio.to_thread(migrate, url)
    opened = await open_database(url, pool_size=2, timeout_seconds=5, lease_seconds=60)
    yield opened
    await opened.close()


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache(1_000_000)


def make(log: MemoryLog, database: Database, cache: Cache, *owned: Partition) -> tuple[StreamConsumer, MemorySource]:
    source = MemorySource(log, owned or (R0,))
    return StreamConsumer(source, database, cache, decode_records, lambda: NOW, FAST), source


@asynccontextmanager
async def running(consumer: StreamConsumer) -> AsyncIterator[StreamConsumer]:
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        consumer.stop()
        await task


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition that may be a coroutine function's result."""
    async with asyncio.timeout(seconds):
        while True:
            met = condition()
            if await met if asyncio.iscoroutine(met) else met:
                return
            await asyncio.sleep(0.01)


async def next_offset(database: Database, partition: Partition) -> int:
    offsets = await database.interactions.offsets(partition.topic)
    return next((stored.next_offset for stored in offsets if stored.partition == partition.partition), 0)


async def caught_up(database: Database, log: MemoryLog, *partitions: Partition) -> None:
    async def is_caught_up() -> bool:
        return all([await next_offset(database, place) == log.end(place) for place in partitions])

    await until(is_caught_up)


async def generation(cache: Cache, user_id: str) -> int:
    return (await cache.read(user_id, "list", None)).generation


class Faults:
    """The real store; `before` runs in front of every transaction and may raise, `after` behind it."""

    def __init__(self, store: InteractionStore) -> None:
        self.store = store
        self.before: Callable[[IngestBatch], None] = lambda _batch: None
        self.after: Callable[[IngestBatch], None] = lambda _batch: None

    async def ingest(self, batch: IngestBatch) -> IngestResult:
        self.before(batch)
        result = await self.store.ingest(batch)
        self.after(batch)
        return result

    async def offsets(self, topic: str) -> Sequence[SourceOffset]:
        return await self.store.offsets(topic)


def faulty(database: Database) -> Faults:
    faults = Faults(database.interactions)
    database.interactions = faults  # type: ignore[assignment]  # the consumer uses these two calls alone
    return faults


class DarkCache(MemoryCache):
    """A cache that can go away."""

    is_up = True

    async def bump(self, user_ids: Collection[str]) -> None:
        if not self.is_up:
            raise CacheUnavailableError("away")
        await super().bump(user_ids)

    async def ping(self) -> None:
        if not self.is_up:
            raise CacheUnavailableError("away")


async def test_events_become_rows_offsets_hints_and_new_generations(database: Database, cache: MemoryCache) -> None:
    log = MemoryLog()
    for number in range(1, 51):
        log.append(R0 if number % 2 else R1, rated(number))
    before = await generation(cache, "u7")
    consumer, _ = make(log, database, cache, R0, R1)
    async with running(consumer):
        await caught_up(database, log, R0, R1)
    assert await database.interactions.count() == 50
    assert log.committed == {R0: 25, R1: 25}
    assert await generation(cache, "u7") > before
    assert [state.item_id for state in await database.interactions.history("u7", 10)] == ["v1"]


async def test_records_that_come_again_have_one_effect(database: Database, cache: MemoryCache) -> None:
    log = MemoryLog()
    for number in (1, 2, 1, 1, 2):
        log.append(R0, rated(number))
    log.append(R1, rated(1))
    consumer, source = make(log, database, cache, R0, R1)
    async with running(consumer):
        await caught_up(database, log, R0, R1)
        source.rebalance((R0, R1))
        log.append(R0, rated(3))
        await caught_up(database, log, R0)
    assert await database.interactions.count() == 3
    assert await database.dead_letters.count() == 0
    assert [state.count for state in await database.interactions.history("u1", 5)] == [1]


async def test_an_event_in_two_topics_has_one_effect(database: Database, cache: MemoryCache) -> None:
    """V9: it says itself what it is, wherever it comes."""
    log, elsewhere = MemoryLog(), Partition("profile-service.watchlist-updated", 0)
    for partition in (R0, elsewhere):
        log.append(partition, rated(1, type="VideoRated"))
    consumer, _ = make(log, database, cache, R0, elsewhere)
    async with running(consumer):
        await caught_up(database, log, R0, elsewhere)
    assert await database.interactions.count() == 1
    assert await database.dead_letters.count() == 0
    assert [state.count for state in await database.interactions.history("u1", 5)] == [1]


async def test_huge_and_deep_records_leave_the_loop_to_others(database: Database, cache: MemoryCache) -> None:
    """V19, V20: five megabytes, a hundred thousand levels, a million keys, a megabyte of headers."""
    keys = b"{" + b",".join(b'"k%d":0' % number for number in range(1_000_000)) + b"}"
    huge = [b'{"a":"' + b"x" * 5_000_000 + b'"}', b"[" * 100_000 + b"]" * 100_000, keys]
    log, lags = MemoryLog(), list[float]()
    for value in huge:
        log.append(R0, value)
    log.append(R0, rated(1), headers=[(f"h{number}", b"x" * 1_000) for number in range(1_000)])
    consumer, _ = make(log, database, cache)

    async def tick() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            lags.append(loop.time() - due)

    async with running(consumer):
        ticking = asyncio.create_task(tick())
        await caught_up(database, log, R0)
        ticking.cancel()
    letters = await database.dead_letters.list(10)
    assert [letter.reason for letter in letters] == ["too_large", "decode", "too_large"]
    assert {len(letter.payload) for letter in letters} == {4_096}
    assert [letter.sha256 for letter in letters] == [sha256(value).hexdigest() for value in huge]
    assert await database.interactions.count() == 1
    assert max(lags) < MAX_LAG_SECONDS


async def test_a_log_that_is_read_again_from_its_beginning_changes_nothing(
    database: Database, cache: MemoryCache
) -> None:
    """E9: all of it comes again, under another epoch, so that no offset helps."""
    log = MemoryLog()
    for number in range(1, 11):
        log.append(R0, rated(number))
    for epoch in ("memory/1", "memory/2"):
        log.epochs[RATED] = epoch
        consumer, _ = make(log, database, cache)
        async with running(consumer):
            await caught_up(database, log, R0)
            await until(lambda: log.committed.get(R0) == 10)
    await asyncio.sleep(0)
    assert await database.interactions.count() == 10
    assert [state.count for state in await database.interactions.history("u1", 5)] == [1]


async def test_a_consumer_that_dies_while_the_database_is_away_loses_nothing(
    database: Database, cache: MemoryCache
) -> None:
    """E2: it has read, it could not write, it is killed; the next one reads the same records again."""
    log = MemoryLog()
    for number in range(1, 11):
        log.append(R0, rated(number))
    faults = faulty(database)

    def away(_batch: IngestBatch) -> None:
        raise DatabaseUnavailableError("away")

    faults.before = away
    victim, _ = make(log, database, cache)
    task = asyncio.create_task(victim.run())
    await until(lambda: victim.progress.waits_for_what == "DatabaseUnavailableError")
    await asyncio.sleep(0.05)
    task.cancel()
    victim.stop()
    await asyncio.wait({task})
    faults.before = lambda _batch: None
    heir, _ = make(log, database, cache)
    async with running(heir):
        await caught_up(database, log, R0)
    assert await faults.store.count() == 10


@pytest.mark.parametrize(("records", "failures"), [(10, 3), (1, 1)])
async def test_a_database_that_is_away_costs_time_and_nothing_else(
    database: Database, cache: MemoryCache, records: int, failures: int
) -> None:
    log = MemoryLog()
    for number in range(1, records + 1):
        log.append(R0, rated(number))
    faults, attempts = faulty(database), 0

    def away(_batch: IngestBatch) -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= failures:
            raise DatabaseUnavailableError("away")

    faults.before = away
    consumer, _ = make(log, database, cache)
    async with running(consumer):
        await caught_up(database, log, R0)
    assert attempts > failures
    assert await faults.store.count() == records
    assert await database.dead_letters.count() == 0


async def test_an_answer_lost_after_the_commit_does_not_count_twice(database: Database, cache: MemoryCache) -> None:
    log = MemoryLog()
    for number in range(1, 11):
        log.append(R0, rated(number))
    faults = faulty(database)
    lost: list[IngestBatch] = []

    def lose_once(batch: IngestBatch) -> None:
        if not lost:
            lost.append(batch)
            raise DatabaseUnavailableError("the answer did not arrive")

    faults.after = lose_once
    before = await generation(cache, "u5")
    consumer, _ = make(log, database, cache)
    async with running(consumer):
        await caught_up(database, log, R0)
        await until(lambda: log.committed.get(R0) == 10)
    assert lost
    assert await faults.store.count() == 10
    assert await generation(cache, "u5") > before


async def test_a_zombie_that_wakes_up_in_its_transaction_is_fenced(database: Database, cache: MemoryCache) -> None:
    log = MemoryLog()
    for number in range(1, 11):
        log.append(R0, rated(number))
    zombie, zombie_source = make(log, database, cache)
    await zombie.share.follow()
    records = await zombie_source.poll(5, 0.01)
    held = zombie.share.cut(records, {R0: decode_records(RATED, records[R0], NOW)})
    heir, _ = make(log, database, cache)
    async with running(heir):
        await caught_up(database, log, R0)
    await zombie.writer.write(held)
    assert await next_offset(database, R0) == 10
    assert await database.interactions.count() == 10
    assert not zombie.share.is_current(held[0])


async def test_poison_becomes_dead_letters_and_messages_and_never_stops_the_good(
    database: Database, cache: MemoryCache
) -> None:
    log = MemoryLog()
    bad = [None, b"", b"{", b"[]", b"\xff\xfe", rated(9, rating=6), rated(9, user_id=None)]
    for number in range(1, 41):
        log.append(R0, rated(number))
    for value in bad:
        log.append(R0, value, key=b"k", headers=[("authorization", b"secret"), ("traceparent", b"00-1-2-01")])
    consumer, _ = make(log, database, cache)
    async with running(consumer):
        await caught_up(database, log, R0)
    letters = await database.dead_letters.list(100)
    assert [letter.reason for letter in letters] == [
        "empty",
        "empty",
        "decode",
        "shape",
        "decode",
        "rating_range",
        "user_id",
    ]
    assert [letter.offset for letter in letters] == list(range(40, 47))
    messages = await database.outbox.claim(100, NOW, 1.0)
    assert {message.topic for message in messages} == {f"{RATED}.dlq"}
    assert messages[2].headers["kafka_dlt-original-offset"] == "42"
    assert messages[2].headers["kafka_dlt-exception-message"] == "decode"
    assert messages[2].headers["traceparent"] == "00-1-2-01"
    assert "secret" not in str(messages)
    assert await database.interactions.count() == 40


async def test_a_poisoned_partition_is_set_aside_and_the_others_go_on(database: Database, cache: MemoryCache) -> None:
    log = MemoryLog()
    for number in range(1, 301):
        log.append(R0, b"poison")
        log.append(R1, rated(number))
    consumer, _ = make(log, database, cache, R0, R1)
    async with running(consumer):
        await caught_up(database, log, R1)
        await until(lambda: R0 in consumer.share.parked)
        assert await database.dead_letters.count() == 101
        assert await next_offset(database, R0) == 101
        await until(lambda: R0 not in consumer.share.parked)
        await caught_up(database, log, R0)
    assert await database.dead_letters.count() == 300
    assert await database.interactions.count() == 300


async def test_a_record_the_database_chokes_on_is_cut_out_of_its_batch(database: Database, cache: MemoryCache) -> None:
    log = MemoryLog()
    for number in range(1, 1_001):
        log.append(R0, rated(number, video_id="bomb" if number == 617 else "v1"))
    faults = faulty(database)

    def choke(batch: IngestBatch) -> None:
        if any(event.item_id == "bomb" for event in batch.interactions):
            raise ValueError("nobody foresaw this")

    faults.before = choke
    consumer, _ = make(log, database, cache)
    async with running(consumer):
        await caught_up(database, log, R0)
    assert await faults.store.count() == 999
    letters = await database.dead_letters.list(10)
    assert [(letter.reason, letter.offset) for letter in letters] == [("unprocessable", 616)]


async def test_a_bug_that_refuses_everything_parks_the_partition_instead_of_draining_it(
    database: Database, cache: MemoryCache
) -> None:
    log = MemoryLog()
    for number in range(1, 1_001):
        log.append(R0, rated(number))
    faults = faulty(database)

    def choke(batch: IngestBatch) -> None:
        if batch.interactions:
            raise ValueError("a bug")

    faults.before = choke
    consumer, _ = make(log, database, cache)
    async with running(consumer):
        await until(lambda: R0 in consumer.share.parked)
    assert await database.dead_letters.count() == 101
    assert await next_offset(database, R0) == 101


async def test_the_same_id_with_other_content_keeps_the_first_and_a_dead_letter(
    database: Database, cache: MemoryCache
) -> None:
    log = MemoryLog()
    log.append(R0, rated(1, rating=5))
    log.append(R1, rated(1, rating=1))
    consumer, _ = make(log, database, cache, R0)
    async with running(consumer):
        await caught_up(database, log, R0)
    consumer, _ = make(log, database, cache, R1)
    async with running(consumer):
        await caught_up(database, log, R1)
    assert [state.value for state in await database.interactions.history("u1", 5)] == [5.0]
    assert [letter.reason for letter in await database.dead_letters.list(5)] == ["id_conflict"]


async def test_records_that_retention_took_are_reported_and_never_skipped_in_silence(
    database: Database, cache: MemoryCache
) -> None:
    log = MemoryLog()
    for number in range(1, 11):
        log.append(R0, rated(number))
    consumer, _ = make(log, database, cache)
    async with running(consumer):
        await caught_up(database, log, R0)
    for number in range(11, 21):
        log.append(R0, rated(number))
    del log.records[R0][:15]
    consumer, _ = make(log, database, cache)
    async with running(consumer):
        await caught_up(database, log, R0)
    assert await database.interactions.count() == 15
    letters = await database.dead_letters.list(5)
    assert [(letter.reason, letter.payload) for letter in letters] == [
        ("offset_gap", b'{"from_offset":10,"to_offset":15}')
    ]


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(database: Database, cache: MemoryCache) -> None:
    log = MemoryLog()
    for number in range(1, 11):
        log.append(R0, rated(number))
    consumer, _ = make(log, database, cache)
    async with running(consumer):
        await caught_up(database, log, R0)
    log.records[R0].clear()
    log.epochs[RATED] = "memory/2"
    for number in range(11, 31):
        log.append(R0, rated(number))
    consumer, _ = make(log, database, cache)
    async with running(consumer):
        await caught_up(database, log, R0)
    assert await database.interactions.count() == 30
    assert [letter.reason for letter in await database.dead_letters.list(5)] == ["topic_recreated"]


async def test_a_crash_between_transaction_and_bump_leaves_no_stale_list(database: Database) -> None:
    log = MemoryLog()
    for number in range(1, 6):
        log.append(R0, rated(number))
    dark = DarkCache(1_000_000)
    consumer, _ = make(log, database, dark)
    async with running(consumer):
        await until(lambda: log.committed.get(R0) == 0)
        dark.is_up = False
        for number in range(6, 11):
            log.append(R0, rated(number))
        await caught_up(database, log, R0)
    dark.is_up = True
    before = await generation(dark, "u9")
    consumer, _ = make(log, database, dark)
    async with running(consumer):
        await until(lambda: log.committed.get(R0) == 10)
    assert await generation(dark, "u9") > before
    assert await database.interactions.count() == 10


async def test_bumps_that_the_cache_did_not_take_are_tried_again(database: Database) -> None:
    log, dark = MemoryLog(), DarkCache(1_000_000)
    log.append(R0, rated(1))
    before = await generation(dark, "u1")
    dark.is_up = False
    consumer, _ = make(log, database, dark)
    async with running(consumer):
        await caught_up(database, log, R0)
        assert log.committed.get(R0) == 0
        dark.is_up = True
        await until(lambda: log.committed.get(R0) == 1)
    assert await generation(dark, "u1") > before


async def test_more_missed_bumps_than_can_be_held_are_found_again_in_the_log(database: Database) -> None:
    log, dark = MemoryLog(), DarkCache(1_000_000)
    for number in range(1, 11):
        log.append(R0, rated(number))
    before = await generation(dark, "u3")
    dark.is_up = False
    consumer, _ = make(log, database, dark)
    consumer._bumps._capacity = 4
    async with running(consumer):
        await caught_up(database, log, R0)
        await until(lambda: consumer._bumps.overflowed)
        consumer._bumps._capacity = 100
        dark.is_up = True
        await until(lambda: log.committed.get(R0) == 10)
    assert await generation(dark, "u3") > before
    assert await database.interactions.count() == 10


async def test_a_broker_that_is_away_is_waited_for(database: Database, cache: MemoryCache) -> None:
    log = MemoryLog()
    log.append(R0, rated(1))
    consumer, _ = make(log, database, cache)
    async with running(consumer):
        await caught_up(database, log, R0)
        log.is_up = False
        log.append(R0, rated(2))
        await until(lambda: consumer.progress.waits_for_what == "BrokerUnavailableError")
        assert not consumer.progress.is_stuck()
        log.is_up = True
        await caught_up(database, log, R0)
    assert await database.interactions.count() == 2


async def test_the_catalog_follows_its_topics_and_the_newest_change_wins(
    database: Database, cache: MemoryCache
) -> None:
    log = MemoryLog()

    def item(name: str, minute: int) -> bytes:
        return json.dumps({"item_id": "v1", "title": name, "updated_at": f"2026-11-20T10:{minute:02}:00Z"}).encode()

    log.append(UPSERTED, item("new", 9))
    log.append(UPSERTED, item("old", 3))
    log.append(UPSERTED, json.dumps({"item_id": "v2", "title": "gone", "updated_at": "2026-11-20T10:00:00Z"}).encode())
    log.append(REMOVED, json.dumps({"item_id": "v2", "updated_at": "2026-11-20T10:05:00Z"}).encode())
    log.append(UPSERTED, json.dumps({"item_id": "v3", "genres": "drama"}).encode())
    consumer, _ = make(log, database, cache, UPSERTED, REMOVED)
    async with running(consumer):
        await caught_up(database, log, UPSERTED, REMOVED)
    stored = await database.catalog.get_item("v1")
    assert stored is not None
    assert stored.title == "new"
    assert [letter.reason for letter in await database.dead_letters.list(5)] == ["catalogue"]


async def test_a_key_that_is_not_the_user_is_counted_and_the_body_believed(
    database: Database, cache: MemoryCache
) -> None:
    def mismatches() -> float:
        return telemetry.REGISTRY.get_sample_value("encore_consumer_key_mismatches_total", {"topic": RATED}) or 0.0

    before, log = mismatches(), MemoryLog()
    log.append(R0, rated(1), key=b"somebody-else")
    log.append(R0, rated(2), key=b"u2")
    log.append(R0, rated(3))
    consumer, _ = make(log, database, cache)
    async with running(consumer):
        await caught_up(database, log, R0)
    assert mismatches() - before == 1
    assert len(await database.interactions.history("u1", 5)) == 1


def test_what_encore_sends_it_never_takes_in() -> None:
    """V24: a list or a training that we told of, or that somebody forged, is nobody's event here."""
    assert not {event.topic for event in OUTGOING_EVENTS} & set(TOPICS)
