"""`encore consume` by its command line, on a real broker and a real PostgreSQL, killed, frozen and told to stop.

Short, directed versions of what `make chaos` does for minutes; the judge reads the database with plain SQL.
"""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Iterator

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks import poison
from benchmarks.chaos.judging import Judge, Verdict
from benchmarks.chaos.ledger import TOPICS, Ledger
from benchmarks.chaos.producing import send
from benchmarks.chaos.rig import SESSION_SECONDS, Rig, started_rig
from benchmarks.database_outages import RECORDS, outage, until_taken_in
from tests.servers.plugin import missing
from tests.servers.process import ServerMissingError

pytestmark = [pytest.mark.real_servers, pytest.mark.slow]

CHECKSUM = """
SELECT (SELECT md5(string_agg(t::text, '|' ORDER BY t.event_id)) FROM features.interactions t),
       (SELECT md5(string_agg(t::text, '|' ORDER BY t.user_key, t.item_key, t.slot)) FROM features.pair_states t),
       (SELECT count(*) FROM features.dead_letters)
"""


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Servers of this test's own, and no consumer yet."""
    try:
        with started_rig(TOPICS, 0) as started:
            yield started
    except ServerMissingError as exc:
        missing(exc)


async def verdict(rig: Rig, ledger: Ledger) -> Verdict:
    judge = Judge(rig.database_url, rig.brokers, ledger)
    return await judge.judge(await judge.drained())


async def query(rig: Rig, sql: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(rig.database_url.replace("+asyncpg", ""), timeout=5)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(sql)
        return rows
    finally:
        await connection.close()


async def hints(rig: Rig) -> dict[tuple[str, int], int]:
    """What the group's committed offsets say."""
    consumer = AIOKafkaConsumer(bootstrap_servers=rig.brokers, group_id="encore", enable_auto_commit=False)
    await consumer.start()
    places = [TopicPartition(topic, number) for topic, count in TOPICS.items() for number in range(count)]
    consumer.assign(places)
    found = {(place.topic, place.partition): await consumer.committed(place) or 0 for place in places}
    await consumer.stop()
    return found


async def test_a_database_outage_with_every_consumer_killed_in_it_loses_nothing(rig: Rig) -> None:
    """E2: what was read while the database was away, and died with the consumers, is read again."""
    ledger = Ledger(seed=2)
    for _ in range(2):
        rig.add_consumer()
    found = await outage(rig, ledger, 5.0)
    assert found.is_clean, found.line()
    assert found.records == RECORDS


async def test_reading_everything_again_changes_no_row_and_no_count(rig: Rig) -> None:
    """E9: the group's hints and the database's offsets are reset to 0."""
    ledger = Ledger(seed=9)
    await send(rig.brokers, ledger, RECORDS)
    consumer = rig.add_consumer()
    await until_taken_in(rig, RECORDS)
    await asyncio.to_thread(consumer.stop)
    before = await query(rig, CHECKSUM)
    await query(rig, "DELETE FROM features.consumer_offsets")
    await asyncio.to_thread(consumer.start)
    await until_taken_in(rig, RECORDS)
    await asyncio.to_thread(consumer.stop)
    assert await query(rig, CHECKSUM) == before


async def test_a_consumer_frozen_past_its_session_writes_nothing_when_it_wakes(rig: Rig) -> None:
    """E11: its peer takes the partitions over; what the zombie holds is refused by the fence."""
    ledger = Ledger(seed=11)
    zombie = rig.add_consumer()
    await send(rig.brokers, ledger, RECORDS // 3)
    await until_taken_in(rig, 1)
    zombie.pause()
    rig.add_consumer()
    await send(rig.brokers, ledger, RECORDS // 3)
    await asyncio.sleep(SESSION_SECONDS + 2)
    await until_taken_in(rig, RECORDS // 3 * 2)
    zombie.resume()
    await send(rig.brokers, ledger, RECORDS // 3)
    found = await verdict(rig, ledger)
    assert found.is_clean, found.line()


async def test_sigterm_finishes_the_batch_leaves_exact_hints_and_exits_0(rig: Rig) -> None:
    """O3: after a clean stop nothing is delivered again."""
    ledger = Ledger(seed=3)
    consumer = rig.add_consumer()
    await send(rig.brokers, ledger, RECORDS)
    await until_taken_in(rig, RECORDS // 10)
    await asyncio.to_thread(consumer.stop)
    assert consumer.exit_code == 0
    stored = await query(rig, "SELECT topic, partition, next_offset FROM features.consumer_offsets")
    left = {place: offset for place, offset in (await hints(rig)).items() if offset}
    assert left == {(topic, partition): offset for topic, partition, offset in stored if offset}


async def test_poison_stops_no_partition_and_much_of_it_sets_its_partition_aside(rig: Rig) -> None:
    """E7, V21 in short: `python -m benchmarks.poison` takes longer and sends more."""
    rig.settings = {"ENCORE_CONSUME_POISON_PAUSE_SECONDS": "3"}
    assert await poison.prove(rig, 2_000, 8.0, 3.0)


async def test_probes_tell_live_from_ready_and_metrics_count_what_came_in(rig: Rig) -> None:
    ledger = Ledger(seed=4)
    consumer = rig.add_consumer()
    port = consumer.environment["ENCORE_CONSUME_HEALTH_PORT"]
    await send(rig.brokers, ledger, 500)
    await until_taken_in(rig, 500)
    assert b'"ok": true' in await get(port, "/health/live")
    assert b'"ok": true' in await get(port, "/health/ready")
    await asyncio.to_thread(rig.postgres.control.kill)
    await send(rig.brokers, ledger, 100)
    async with asyncio.timeout(60):
        while True:
            if b'"ok": false' in await get(port, "/health/ready"):
                break
            await asyncio.sleep(0.2)
    assert b'"ok": true' in await get(port, "/health/live")
    await asyncio.to_thread(rig.postgres.control.start)
    await until_taken_in(rig, 600)
    metrics = (await get(port, "/metrics")).decode()
    accepted = next(line for line in metrics.splitlines() if line.startswith('encore_events_total{outcome="accepted"'))
    assert float(accepted.rpartition(" ")[2]) == len(ledger.acknowledged)


async def get(port: str, path: str) -> bytes:
    """The body, whatever the status."""

    def fetch() -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            return bytes(error.read())

    return await asyncio.to_thread(fetch)
