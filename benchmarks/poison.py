"""Poison never stops a partition, and never moves a topic to the dead letters (E7, V21).

`python -m benchmarks.poison [--good 10000] [--seconds 60] [--pause 10]`. First one unreadable record in front of
10,000 good ones; then for a minute one partition of poison alone, one with a quarter of it, and a good one beside them.
Real broker, PostgreSQL, one consumer process. A line each; exit 1 if a bar was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg
from aiokafka import AIOKafkaProducer

from app.application.ingestion.batch_planning import PoisonPolicy
from benchmarks.chaos.rig import Rig, started_rig
from benchmarks.machine import report

BENCHMARK = "poison"
TOPIC = "profile-service.video-rated"
GOOD, BAD, MIXED = 0, 1, 2
"""The partitions."""

LAG_BAR_SECONDS = 2.0
RATE = 200
"""Records a second and partition during the flood."""

PATIENCE_SECONDS = 60.0


@dataclass
class Flood:
    """What was seen while poison came."""

    sent: int = 0
    lags: list[float] = field(default_factory=list)
    alarms: set[str] = field(default_factory=set)
    gauges: set[str] = field(default_factory=set)


def good(_number: int = 0) -> bytes:
    """A new rating."""
    now = datetime.now(UTC).isoformat()
    return json.dumps(
        {"event_id": str(uuid.uuid4()), "user_id": "u1", "video_id": "v1", "rating": 4, "timestamp": now}
    ).encode()


def mixed(number: int) -> bytes:
    """Every fourth is poison: never two in a row, and more than a fifth."""
    return b"{" if number % 4 == 0 else good()


async def send(producer: AIOKafkaProducer, partition: int, count: int, make: Callable[[int], bytes]) -> int:
    """All acknowledged on return; the offset behind the last."""
    sent = [await producer.send(TOPIC, make(number), partition=partition) for number in range(count)]
    return int((await asyncio.gather(*sent))[-1].offset) + 1


async def lag(database: asyncpg.Connection, partition: int, end: int) -> float:
    """Seconds from now until the partition is committed up to `end`. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await next_offset(database, partition) < end:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.02)
    return loop.time() - began


async def next_offset(database: asyncpg.Connection, partition: int) -> int:
    """How far the partition is committed."""
    sql = "SELECT coalesce(max(next_offset), 0) FROM features.consumer_offsets WHERE topic = $1 AND partition = $2"
    return int(await database.fetchval(sql, TOPIC, partition))


async def letters(database: asyncpg.Connection) -> Mapping[int, int]:
    """Partition → dead letters."""
    rows = await database.fetch("SELECT partition, count(*) FROM features.dead_letters GROUP BY 1")
    return {int(partition): int(count) for partition, count in rows}


async def one_in_front(database: asyncpg.Connection, producer: AIOKafkaProducer, count: int) -> bool:
    """One poison record, then good ones."""
    await send(producer, GOOD, 1, lambda _number: b"{")
    end = await send(producer, GOOD, count, good)
    seconds = await lag(database, GOOD, end)
    stored = int(await database.fetchval("SELECT count(*) FROM features.interactions"))
    found = (await letters(database)).get(GOOD, 0)
    report(BENCHMARK, "lag behind one poison record", seconds, "s", good=count, stored=stored, dead_letters=found)
    return seconds < LAG_BAR_SECONDS and stored == count and found == 1


async def flood(database: asyncpg.Connection, producer: AIOKafkaProducer, port: str, seconds: float) -> Flood:
    """Three partitions at the same rate; what the probes and gauges said, and how far the good one was behind."""
    loop, seen = asyncio.get_running_loop(), Flood()
    until = loop.time() + seconds
    while loop.time() < until:
        due = loop.time() + 1.0
        await send(producer, BAD, RATE, lambda _number: b"{")
        await send(producer, MIXED, RATE, mixed)
        seen.lags.append(await lag(database, GOOD, await send(producer, GOOD, RATE, good)))
        seen.sent += RATE
        seen.alarms |= set(json.loads(await asyncio.to_thread(get, port, "/health/ready"))["parked"])
        metrics = (await asyncio.to_thread(get, port, "/metrics")).decode()
        seen.gauges |= {
            line
            for line in metrics.splitlines()
            if line.startswith("encore_consumer_paused{") and line.endswith(" 1.0")
        }
        await asyncio.sleep(max(0.0, due - loop.time()))
    return seen


async def only_poison(
    database: asyncpg.Connection, producer: AIOKafkaProducer, port: str, seconds: float, pause: float
) -> bool:
    """The consumer sets both poisoned partitions aside, says so, and takes in the good one."""
    seen, policy = await flood(database, producer, port, seconds), PoisonPolicy()
    found, pauses = await letters(database), int(seconds / pause) + 2
    bounds = {BAD: (policy.max_consecutive + 1) * pauses, MIXED: (policy.min_seen // 4 + 1) * pauses}
    worst = max(seen.lags)
    report(
        BENCHMARK,
        "lag of the good partition beside poison",
        worst,
        "s",
        seconds=seconds,
        pause_s=pause,
        poison_sent={"all": seen.sent, "a quarter": seen.sent // 4},
        dead_letters={"all": found.get(BAD, 0), "a quarter": found.get(MIXED, 0)},
        bounds={"all": bounds[BAD], "a quarter": bounds[MIXED]},
        readiness_named=sorted(seen.alarms),
        gauges=len(seen.gauges),
    )
    is_alarmed = seen.alarms == {f"{TOPIC}/{BAD}", f"{TOPIC}/{MIXED}"} and len(seen.gauges) == len(bounds)
    is_bounded = all(0 < found.get(partition, 0) <= bound for partition, bound in bounds.items())
    return worst < LAG_BAR_SECONDS and is_alarmed and is_bounded


def get(port: str, path: str) -> bytes:
    """The body, whatever the status."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return bytes(error.read())


async def prove(rig: Rig, count: int, seconds: float, pause: float) -> bool:
    """Both halves of the row."""
    consumer = rig.add_consumer()
    database = await asyncpg.connect(rig.database_url.replace("+asyncpg", ""), timeout=5)
    producer = AIOKafkaProducer(bootstrap_servers=rig.brokers, acks="all", linger_ms=5)
    await producer.start()
    try:
        await lag(database, GOOD, await send(producer, GOOD, 1, good))  # joined and positioned
        await database.execute("DELETE FROM features.interactions")
        is_swift = await one_in_front(database, producer, count)
        port = consumer.environment["ENCORE_CONSUME_HEALTH_PORT"]
        return await only_poison(database, producer, port, seconds, pause) and is_swift
    finally:
        await producer.stop()
        await database.close()


def run(count: int, seconds: float, pause: float) -> bool:
    """Start everything, prove, stop everything. Raises ServerMissingError."""
    with started_rig({TOPIC: 3}, 0, ENCORE_CONSUME_POISON_PAUSE_SECONDS=str(pause)) as rig:
        return asyncio.run(prove(rig, count, seconds, pause))


def main() -> int:
    """Exit 0 if the bars were met."""
    parser = argparse.ArgumentParser(prog="poison", description=__doc__)
    parser.add_argument("--good", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pause", type=float, default=10.0)
    given = parser.parse_args()
    return 0 if run(given.good, given.seconds, given.pause) else 1


if __name__ == "__main__":
    sys.exit(main())
