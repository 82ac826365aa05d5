"""The job broker restarts ten times, idle and while a training runs; then twenty trainings by one worker (T4, T6).

`python -m benchmarks.broker_restarts [--restarts 10] [--trainings 20]`. Prints the longest wait until the worker
consumed again and its memory after the third and the last training; exit 1 if a bar was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from time import monotonic

from app.domain.entities import FINAL_STATUSES, TrainingStatus
from app.domain.interfaces import JobQueue
from app.infrastructure.jobs import open_job_queue
from benchmarks.kill_training import Rig, open_rig, status_of
from benchmarks.machine import report, resident_bytes
from tests.servers.encore import encore
from tests.servers.process import ServerProcess
from tests.servers.redis import start_redis

BENCHMARK = "broker_restarts"
BAR_SECONDS = 60.0
PATIENCE_SECONDS = 300.0
MAX_GROWTH = 1.1


def worker_of(rig: Rig, broker: str) -> ServerProcess:
    """`encore worker` on the rig's data."""
    ours = {name: value for name, value in rig.environment.items() if name.startswith("ENCORE_")}
    return encore("worker", ["worker"], {**ours, "ENCORE_JOBS_URL": broker, "ENCORE_TRAIN_SCHEDULE": ""})


async def begun(rig: Rig, training_id: str) -> float:
    """Seconds until a worker has begun this training, however it ends."""
    since = monotonic()
    while await status_of(rig, training_id) is TrainingStatus.QUEUED:
        if monotonic() - since > 2 * BAR_SECONDS:
            break
        await asyncio.sleep(0.02)
    return monotonic() - since


async def ended(rig: Rig, training_id: str) -> TrainingStatus | None:
    """How a training ended."""
    since = monotonic()
    while True:
        status = await status_of(rig, training_id)
        if status in FINAL_STATUSES or monotonic() - since > PATIENCE_SECONDS:
            return status
        await asyncio.sleep(0.05)


async def train(rig: Rig, jobs: JobQueue) -> tuple[str, float]:
    """Ask for a training; its id, and how long it took until a worker began."""
    job, _ = await rig.queue()
    await jobs.submit(job.training_id)
    return job.training_id, await begun(rig, job.training_id)


async def restarts(rig: Rig, jobs: JobQueue, broker: ServerProcess, count: int) -> tuple[list[float], list[str]]:
    """Half of them idle, half while a training runs. (seconds until the next training began, what went wrong)."""
    waits: list[float] = []
    problems: list[str] = []
    for number in range(count):
        running = None
        if number % 2:
            running, _ = await train(rig, jobs)
        await asyncio.to_thread(broker.restart)
        if running is not None and (how := await ended(rig, running)) is not TrainingStatus.PROMOTED:
            problems.append(f"restart {number}: the running training ended as {how}")
        training_id, waited = await train(rig, jobs)
        waits.append(waited)
        if (how := await ended(rig, training_id)) is not TrainingStatus.PROMOTED:
            problems.append(f"restart {number}: the next training ended as {how}")
    return waits, problems


async def memory(rig: Rig, jobs: JobQueue, worker: ServerProcess, count: int) -> list[int]:
    """The worker's memory after each training."""
    held = []
    for _ in range(count):
        training_id, _ = await train(rig, jobs)
        await ended(rig, training_id)
        held.append(resident_bytes(worker.pid))
    return held


async def prove(folder: Path, count: int, trainings: int) -> bool:
    """Both rows; True if they held."""
    rig, broker = await open_rig(folder, "content"), start_redis()
    worker = worker_of(rig, broker.url)
    jobs = await open_job_queue(broker.url)
    try:
        await asyncio.to_thread(worker.start)
        await ended(rig, (await train(rig, jobs))[0])
        waits, problems = await restarts(rig, jobs, broker.control, count)
        held = await memory(rig, jobs, worker, trainings)
    finally:
        await jobs.close()
        await asyncio.to_thread(worker.stop)
        broker.stop()
        await rig.artifacts.close()
        await rig.database.close()
    report(BENCHMARK, "consumes again after", max(waits), "s", restarts=count, bar=BAR_SECONDS, problems=problems)
    growth = held[-1] / held[min(2, len(held) - 1)]
    mib = [round(each / 1_048_576) for each in held]
    report(BENCHMARK, "memory of the worker after the last by that after the third", growth, "ratio", mib=mib)
    return max(waits) <= BAR_SECONDS and not problems and growth <= MAX_GROWTH


def main() -> int:
    """Exit 0 if both bars were met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--trainings", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return 0 if asyncio.run(prove(Path(folder), options.restarts, options.trainings)) else 1


if __name__ == "__main__":
    sys.exit(main())
