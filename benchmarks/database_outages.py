"""The database goes down, and every consumer is killed in the middle of it (E2): nothing acknowledged is lost.

`python -m benchmarks.database_outages [--seconds 5 30 120] [--rounds 3]`. Random kills do not find what this finds:
records that were read, and whose hint was committed, while nothing could be written. One line a round; exit 1 if one
was not clean.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from time import perf_counter

import asyncpg

from benchmarks.chaos.judging import Judge, Verdict
from benchmarks.chaos.ledger import TOPICS, Ledger
from benchmarks.chaos.producing import send
from benchmarks.chaos.rig import Rig, started_rig
from benchmarks.machine import report

RECORDS = 3_000
PATIENCE_SECONDS = 60.0


async def taken_in(rig: Rig) -> int:
    """How many records are committed, dead letters included."""
    connection = await asyncpg.connect(rig.database_url.replace("+asyncpg", ""), timeout=5)
    try:
        return int(
            await connection.fetchval("SELECT coalesce(sum(next_offset), 0)::bigint FROM features.consumer_offsets")
        )
    finally:
        await connection.close()


async def until_taken_in(rig: Rig, records: int, seconds: float = PATIENCE_SECONDS) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while await taken_in(rig) < records:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.05)


async def outage(rig: Rig, ledger: Ledger, seconds: float) -> Verdict:
    """Half of the records before, half while the database is down; after half of that all consumers are killed."""
    before = await taken_in(rig)
    await send(rig.brokers, ledger, RECORDS // 2)
    await until_taken_in(rig, before + RECORDS // 4)
    database = rig.postgres.control
    await asyncio.to_thread(database.kill)
    await send(rig.brokers, ledger, RECORDS // 2)
    await asyncio.sleep(seconds / 2)
    for consumer in rig.consumers:
        await asyncio.to_thread(consumer.restart)
    await asyncio.sleep(seconds / 2)
    await asyncio.to_thread(database.start)
    judge = Judge(rig.database_url, rig.brokers, ledger)
    return await judge.judge(await judge.drained())


def main() -> int:
    """Exit 0 if every round was clean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 30.0, 120.0])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    verdicts = []
    with started_rig(TOPICS, 2) as rig:
        ledger = Ledger(seed=2)
        for number in range(given.rounds):
            for seconds in given.seconds:
                began = perf_counter()
                verdict = asyncio.run(outage(rig, ledger, seconds))
                verdicts.append(verdict)
                took = round(perf_counter() - began, 1)
                report(
                    "database_outages",
                    "clean",
                    float(verdict.is_clean),
                    "ratio",
                    round=number + 1,
                    down_s=seconds,
                    took_s=took,
                    verdict=verdict.line(),
                )
    return 0 if all(verdict.is_clean for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
