"""How fast one consumer process empties a backlog: Kafka to committed rows in PostgreSQL, all on this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
from aiokafka import AIOKafkaProducer

from benchmarks.chaos.rig import Rig, started_rig
from benchmarks.machine import processor_seconds, report, resident_bytes

TOPIC, PARTITIONS = "profile-service.video-rated", 6
USERS, ITEMS = 20_000, 5_000
LIMIT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen between the first committed rows and the last. `cpu_seconds`: of each process with its children."""

    events: int
    seconds: float
    cpu_seconds: Mapping[str, float]
    early_rss_bytes: int
    peak_rss_bytes: int


def main() -> None:
    """Fill the topic with no consumer running, start one, and time it from its first rows to its last."""
    parser = argparse.ArgumentParser(prog="consume_rate", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=10_000)
    given = parser.parse_args()
    with started_rig({TOPIC: PARTITIONS}, 0, ENCORE_CONSUME_BATCH_RECORDS=str(given.batch)) as rig:
        asyncio.run(fill(rig, given.events))
        consumer = rig.add_consumer()
        run = asyncio.run(watch(rig, given.events, consumer.pid))
    report(
        "consume_rate",
        "events a second",
        run.events / run.seconds,
        "1/s",
        events=given.events,
        batch=given.batch,
        per_consumer_cpu_second=round(run.events / run.cpu_seconds["consumer"]),
        cpu_us_per_event={name: round(spent / run.events * 1e6, 1) for name, spent in run.cpu_seconds.items()},
        rss_mb_at_a_quarter=run.early_rss_bytes >> 20,
        peak_rss_mb=run.peak_rss_bytes >> 20,
    )


def spent(rig: Rig) -> dict[str, float]:
    """Processor time so far."""
    consumers = sum(processor_seconds(consumer.pid) for consumer in rig.consumers)
    database, broker = (processor_seconds(server.control.pid) for server in (rig.postgres, rig.kafka))
    return {"consumer": consumers, "postgres": database, "kafka": broker}


async def fill(rig: Rig, events: int) -> None:
    """Distinct events with ids, keyed by user."""
    producer = AIOKafkaProducer(
        bootstrap_servers=rig.brokers, acks="all", enable_idempotence=True, linger_ms=20, compression_type="lz4"
    )
    await producer.start()
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    for number in range(events):
        user = f"u{number % USERS}"
        event = {
            "event_id": str(uuid.uuid4()),
            "user_id": user,
            "video_id": f"v{number * 7 % ITEMS}",
            "rating": (number % 10 + 1) / 2,
            "timestamp": now,
        }
        await producer.send(TOPIC, json.dumps(event).encode(), key=user.encode())
    await producer.stop()


async def watch(rig: Rig, events: int, pid: int) -> Run:
    """Look until everything is in; what came in before the first look counts neither as work nor as time."""
    connection = await asyncpg.connect(rig.database_url.replace("+asyncpg", ""))
    begun: tuple[float, int, dict[str, float]] | None = None
    done, peak, early, started = 0, 0, 0, time.perf_counter()
    while done < events and time.perf_counter() - started < LIMIT_SECONDS:
        await asyncio.sleep(0.02)
        done = int(await connection.fetchval("SELECT coalesce(sum(next_offset), 0) FROM features.consumer_offsets"))
        peak = max(peak, resident_bytes(pid))
        early = peak if done <= events // 4 else early
        if begun is None and done:
            begun = time.perf_counter(), done, spent(rig)
    ended, cpu = time.perf_counter(), spent(rig)
    rows = await connection.fetchval("SELECT count(*) FROM features.interactions")
    await connection.close()
    assert begun is not None, "nothing was taken in"
    assert rows == events, f"{rows} of {events} events were taken in"
    since, before, spent_before = begun
    used = {name: seconds - spent_before[name] for name, seconds in cpu.items()}
    return Run(events - before, ended - since, used, early, peak)


if __name__ == "__main__":
    main()
