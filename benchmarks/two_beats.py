"""Two Beats, one worker, a training every minute (T3): each slot is trained once, although a Beat is killed in between.

`python -m benchmarks.two_beats [--slots 10]`. One Beat after the other is killed right before a slot and started again
right behind it. One line; exit 1 unless every slot had exactly one training.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from app.domain.entities import FINAL_STATUSES
from benchmarks.kill_training import Rig, open_rig, utc_now
from benchmarks.machine import report
from tests.servers.encore import encore
from tests.servers.process import ServerProcess
from tests.servers.redis import start_redis

SLOT = timedelta(minutes=1)
KILLED_SECONDS = 2.0
"""Before and behind the slot."""


def process_of(rig: Rig, command: str, name: str, broker: str) -> ServerProcess:
    """`encore worker` or `encore beat` on the rig's data; a tick a second."""
    ours = {setting: value for setting, value in rig.environment.items() if setting.startswith("ENCORE_")}
    more = {
        "ENCORE_JOBS_URL": broker,
        "ENCORE_TRAIN_MODEL_TYPE": "content",
        "ENCORE_TRAIN_SCHEDULE": "* * * * *",
        "ENCORE_SCHEDULE_TICK_SECONDS": "1",
    }
    return encore(name, [command], {**ours, **more})


async def sleep_until(moment: datetime) -> None:
    """Until then by the wall clock, which is what slots go by."""
    await asyncio.sleep(max(0.0, (moment - utc_now()).total_seconds()))


async def pass_slots(beats: list[ServerProcess], first: datetime, count: int) -> None:
    """Kill one Beat before each slot, the two in turn, and start it again behind it."""
    for number in range(count):
        victim = beats[number % len(beats)]
        await sleep_until(first + number * SLOT - timedelta(seconds=KILLED_SECONDS))
        await asyncio.to_thread(victim.kill)
        await sleep_until(first + number * SLOT + timedelta(seconds=KILLED_SECONDS))
        await asyncio.to_thread(victim.start)
    await sleep_until(first + count * SLOT - timedelta(seconds=5))


async def prove(folder: Path, count: int) -> bool:
    """True if each slot had its training, and no second one."""
    rig, broker = await open_rig(folder, "content"), start_redis()
    processes = [process_of(rig, "worker", "worker", broker.url)]
    processes += [process_of(rig, "beat", f"beat{number}", broker.url) for number in range(2)]
    try:
        for process in processes:
            await asyncio.to_thread(process.start)
        first = utc_now().replace(second=0, microsecond=0) + 2 * SLOT
        await pass_slots(processes[1:], first, count)
        made = [job for job in await rig.database.trainings.list(100) if job.created_at >= first]
    finally:
        for process in processes:
            await asyncio.to_thread(process.stop)
        broker.stop()
        await rig.artifacts.close()
        await rig.database.close()
    slots = Counter(job.created_at.replace(second=0, microsecond=0) for job in made)
    ended = Counter(str(job.status) for job in made)
    late = max((job.created_at.second + job.created_at.microsecond / 1e6 for job in made), default=0.0)
    report("two_beats", "trainings", len(made), f"of {count}", slots=len(slots), ended=ended, latest_s=round(late, 1))
    return len(made) == len(slots) == count and all(job.status in FINAL_STATUSES for job in made)


def main() -> int:
    """Exit 0 if the promise holds."""
    parser = argparse.ArgumentParser(prog="two_beats", description=__doc__)
    parser.add_argument("--slots", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return 0 if asyncio.run(prove(Path(folder), given.slots)) else 1


if __name__ == "__main__":
    sys.exit(main())
