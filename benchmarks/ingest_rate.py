"""How fast batches go into PostgreSQL alone: no broker, no decoding, one process, one batch after the other."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.domain.entities import Interaction, Kind
from app.domain.stores import IngestBatch
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from benchmarks.machine import processor_seconds, report
from tests.servers.postgres import execute, on_database, start_postgres

USERS, ITEMS = 20_000, 5_000


def main() -> None:
    """Print events a second by the clock, and by the processor time of the client and of the server."""
    parser = argparse.ArgumentParser(prog="ingest_rate", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=5_000)
    given = parser.parse_args()
    server = start_postgres(durable=True)
    try:
        execute(server.url, "CREATE DATABASE ingest")
        url = on_database(server.url, "ingest")
        migrate(url)
        seconds, client, database = asyncio.run(measure(url, server.control.pid, given.events, given.batch))
    finally:
        server.stop()
    report(
        "ingest_rate",
        "events a second",
        given.events / seconds,
        "1/s",
        events=given.events,
        batch=given.batch,
        cpu_seconds={"client": round(client, 2), "postgres": round(database, 2)},
    )


async def measure(url: str, pid: int, events: int, size: int) -> tuple[float, float, float]:
    """(seconds, our processor seconds, the server's) of taking in that many events."""
    batches = list(drawn(events, size))
    database = await open_database(url, pool_size=3, timeout_seconds=10, lease_seconds=60)
    await database.interactions.ingest(IngestBatch(batches.pop()))  # opens the connection, makes the partitions
    ours, theirs, started = time.process_time(), processor_seconds(pid), time.perf_counter()
    for batch in batches:
        await database.interactions.ingest(IngestBatch(batch))
    taken = time.perf_counter() - started, time.process_time() - ours, processor_seconds(pid) - theirs
    rows = await database.interactions.count()
    await database.close()
    assert rows == events + size, f"{rows} rows of {events + size} events"
    return taken


def drawn(events: int, size: int) -> Iterator[Sequence[Interaction]]:
    """Batches of distinct events, and one more to begin with; ids are drawn, so they fall anywhere in the index."""
    dice = random.Random(1)
    now = datetime.now(UTC)
    made = [
        Interaction(
            UUID(int=dice.getrandbits(128), version=4),
            f"u{dice.randrange(USERS)}",
            f"v{dice.randrange(ITEMS)}",
            Kind.RATING,
            now - timedelta(seconds=number % 3_600),
            dice.randint(1, 10) / 2,
        )
        for number in range(events + size)
    ]
    return (made[start : start + size] for start in range(0, len(made), size))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
