"""How fast one consumer process empties a backlog: Kafka to committed rows in PostgreSQL, all on this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from datetime import UTC, datetime

import asyncpg
from aiokafka import AIOKafkaProducer

from benchmarks.chaos.rig import Rig, started_rig
from benchmarks.machine import processor_seconds, report, resident_bytes

TOPIC, PARTITIONS = "profile-service.video-rated", 6
USERS, ITEMS = 20_000, 5_000
LIMIT_SECONDS = 300.0


def main() -> None:
    """Fill the topic with no consumer running, start one, and time it from its first row to its last."""
    parser = argparse.ArgumentParser(prog="consume_rate", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    events = parser.parse_args().events
    with started_rig({TOPIC: PARTITIONS}, 0) as rig:
        asyncio.run(fill(rig, events))
        before = spent(rig)
        consumer = rig.add_consumer()
        seconds, peak, early = asyncio.run(watch(rig, events, consumer.pid))
        cpu = {name: round(after - before[name], 2) for name, after in spent(rig).items()}
    report(
        "consume_rate",
        "events a second",
        events / seconds,
        "1/s",
        events=events,
        per_consumer_cpu_second=round(events / cpu["consumer"]),
        cpu_seconds=cpu,
        rss_mb_at_a_quarter=early >> 20,
        peak_rss_mb=peak >> 20,
    )


def spent(rig: Rig) -> dict[str, float]:
    """Processor time so far: of the consumer with its start, of the database, of the broker."""
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


async def watch(rig: Rig, events: int, pid: int) -> tuple[float, int, int]:
    """(seconds from the first committed row to the last, the most memory the consumer held, after a quarter of it)."""
    connection = await asyncpg.connect(rig.database_url.replace("+asyncpg", ""))
    first: float | None = None
    done, peak, early, started = 0, 0, 0, time.perf_counter()
    while done < events and time.perf_counter() - started < LIMIT_SECONDS:
        await asyncio.sleep(0.02)
        done = await connection.fetchval("SELECT coalesce(sum(next_offset), 0) FROM features.consumer_offsets")
        peak = max(peak, resident_bytes(pid))
        early = peak if done <= events // 4 else early
        if first is None and done:
            # the first batch is in already: it counts as work of the time that follows
            first = time.perf_counter()
    rows = await connection.fetchval("SELECT count(*) FROM features.interactions")
    await connection.close()
    assert first is not None, "nothing was taken in"
    assert rows == events, f"{rows} of {events} events were taken in"
    return time.perf_counter() - first, peak, early


if __name__ == "__main__":
    main()
