"""kill -9 during training, row T2 of the test plan: `python -m benchmarks.kill_training --points 50 [--servers]`.

Each round trains in a process of its own, kills it at another point (a share of the usual duration, or the moment a
part of the artifact, its manifest, the model's row or the promotion appears), and then proves: the champion and every
version that has an artifact load and verify; the lock is free within seconds, long before the lease ends; training
again completes. With --servers on PostgreSQL and an S3 store instead of SQLite and a folder. Prints one JSON line; exit
1 unless every round held.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from app.application.artifacts.model_artifacts import load_model
from app.application.demo.demo_data import generate
from app.application.training.model_training import TrainingRequest, queue_training
from app.domain.entities import TrainingJob, TrainingStatus
from app.domain.exceptions import TrainingRunningError
from app.domain.interfaces import ArtifactStore
from app.domain.stores import Database, IngestBatch
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from app.infrastructure.storage import open_artifact_store
from app.models import RECOMMENDERS
from benchmarks.machine import report
from tests.servers.fleet import obtain

LEASE_SECONDS = 60.0
PATIENCE_SECONDS = 120.0
ANCHOR = datetime(2026, 10, 20, tzinfo=UTC)

Trigger = Callable[["Rig", str], Awaitable[bool]]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Rig:
    """One installation in a folder, and what its training processes are given."""

    folder: Path
    database: Database
    artifacts: ArtifactStore
    model_type: str
    environment: dict[str, str] = field(default_factory=dict)

    async def queue(self) -> tuple[TrainingJob, float]:
        """Queue a training as soon as that is possible; (job, how long the lock of a dead one was in the way)."""
        began = monotonic()
        while True:
            try:
                request = TrainingRequest(self.model_type)
                job = await queue_training(self.database, RECOMMENDERS, utc_now, request)
            except TrainingRunningError as error:
                if monotonic() - began > PATIENCE_SECONDS:
                    raise
                # A process that died before it began has left a queued job: any process may take it up.
                waiting = await self.database.trainings.get(error.training_id)
                if waiting is not None and waiting.status is TrainingStatus.QUEUED:
                    return waiting, monotonic() - began
                await asyncio.sleep(0.02)
            else:
                return job, monotonic() - began

    async def spawn(self, training_id: str) -> asyncio.subprocess.Process:
        """`python -m app.tasks.training ID`, as the job queue starts it."""
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.tasks.training", training_id, env=self.environment, start_new_session=True
        )

    async def has_written(self, training_id: str, name: str) -> bool:
        """Whether a part of the artifact of a training is there."""
        keys = await self.artifacts.list(f"models/{self.model_type}/")
        return any(key.endswith(f"-{training_id}/{name}") for key in keys)


async def open_rig(
    folder: Path,
    model_type: str,
    lease_seconds: float = LEASE_SECONDS,
    *,
    url: str | None = None,
    artifacts_url: str | None = None,
) -> Rig:
    """Migrate, fill with demo data. Without addresses: a SQLite file and artifacts in the folder."""
    url = url or f"sqlite+aiosqlite:///{folder}/encore.db"
    artifacts_url = artifacts_url or f"file://{folder}/artifacts"
    await asyncio.to_thread(migrate, url)
    database = await open_database(url, pool_size=4, timeout_seconds=10.0, lease_seconds=lease_seconds)
    data = generate(ANCHOR, n_items=150, n_users=120)
    await database.catalog.upsert_items(data.items)
    await database.catalog.upsert_users(data.users)
    await database.interactions.ingest(IngestBatch(data.interactions))
    environment = {
        **os.environ,
        "ENCORE_ENVIRONMENT": "development",
        "ENCORE_DATABASE_URL": url,
        "ENCORE_ARTIFACTS_URL": artifacts_url,
        "ENCORE_ARTIFACT_COPIES": f"{folder}/copies",
        "ENCORE_TRAIN_LEASE_SECONDS": str(lease_seconds),
        "ENCORE_LOG_LEVEL": "ERROR",
    }
    return Rig(folder, database, await open_artifact_store(artifacts_url), model_type, environment)


def part_is_written(name: str) -> Trigger:
    """The moment a file of the artifact has appeared."""

    async def seen(rig: Rig, training_id: str) -> bool:
        return await rig.has_written(training_id, name)

    return seen


async def row_is_added(rig: Rig, training_id: str) -> bool:
    """The moment the model's row is there."""
    return any(model.training_id == training_id for model in await rig.database.models.list(rig.model_type, 1))


async def is_promoted(rig: Rig, training_id: str) -> bool:
    """The moment the champion is the new one."""
    champion = await rig.database.models.champion(rig.model_type)
    return champion is not None and champion.model.training_id == training_id


TRIGGERS: tuple[tuple[str, Trigger], ...] = (
    ("first part written", part_is_written("model.safetensors")),
    ("manifest written", part_is_written("manifest.json")),
    ("row added", row_is_added),
    ("promoted", is_promoted),
)


@dataclass
class Tally:
    """What the rounds have shown."""

    rounds: int = 0
    problems: list[str] = field(default_factory=list)
    lock_seconds: list[float] = field(default_factory=list)
    killed_in: list[str] = field(default_factory=list)


def after_running_for(seconds: float) -> Trigger:
    """So long after the training has begun (starting the interpreter does not count)."""
    began: list[float] = []

    async def seen(rig: Rig, training_id: str) -> bool:
        if not began and await status_of(rig, training_id) is not TrainingStatus.QUEUED:
            began.append(monotonic())
        return bool(began) and monotonic() - began[0] >= seconds

    return seen


async def status_of(rig: Rig, training_id: str) -> TrainingStatus | None:
    """What the database says of a training."""
    job = await rig.database.trainings.get(training_id)
    return None if job is None else job.status


async def kill_at(rig: Rig, training_id: str, trigger: Trigger) -> None:
    """Start the training and kill -9 it at that moment, or let it end if that comes first."""
    process = await rig.spawn(training_id)
    ended = asyncio.create_task(process.wait())
    while not ended.done() and not await trigger(rig, training_id):
        await asyncio.wait([ended], timeout=0.0005)
    if not ended.done():
        process.kill()
    await ended


async def check(rig: Rig, tally: Tally, point: str) -> None:
    """Whatever is visible now must be whole."""
    champion = await rig.database.models.champion(rig.model_type)
    versions = await rig.database.models.list(rig.model_type, 1_000)
    for model in [*versions, *([champion.model] if champion else [])]:
        if model.artifact_key is not None:
            try:
                await load_model(rig.artifacts, model, RECOMMENDERS)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is what this proof is to find
                tally.problems.append(f"{point}: version {model.version} {error!r}")


async def one_round(rig: Rig, tally: Tally, point: str, trigger: Trigger) -> None:
    """Kill, look, train again."""
    job, _ = await rig.queue()
    await kill_at(rig, job.training_id, trigger)
    tally.rounds += 1
    tally.killed_in.append(f"{point}: {await status_of(rig, job.training_id)}")
    await check(rig, tally, point)
    again, waited = await rig.queue()
    tally.lock_seconds.append(waited)
    code = await (await rig.spawn(again.training_id)).wait()
    ended = await rig.database.trainings.get(again.training_id)
    if code != 0 or ended is None or ended.status is not TrainingStatus.PROMOTED:
        tally.problems.append(f"{point}: training again ended {ended and ended.status} ({ended and ended.reason})")
    elif not await is_promoted(rig, again.training_id):
        tally.problems.append(f"{point}: promoted, but not the champion")
    await check(rig, tally, f"{point}, after training again")


async def prove(
    folder: Path, points: int, seed: int, model_type: str, url: str | None = None, artifacts_url: str | None = None
) -> Tally:
    """Measure an unharmed training, then kill at `points` points of the next ones."""
    rig = await open_rig(folder, model_type, url=url, artifacts_url=artifacts_url)
    tally = Tally()
    try:
        job, _ = await rig.queue()
        await (await rig.spawn(job.training_id)).wait()
        whole = await rig.database.trainings.get(job.training_id)
        if whole is None or whole.started_at is None or whole.finished_at is None:
            raise SystemExit("the unharmed training did not end")
        usual, draw = (whole.finished_at - whole.started_at).total_seconds(), random.Random(seed)
        for number in range(points):
            if number % 2:
                await one_round(rig, tally, *TRIGGERS[number // 2 % len(TRIGGERS)])
            else:
                share = draw.uniform(0.0, 1.0)
                await one_round(rig, tally, f"{share:.0%} of the time", after_running_for(share * usual))
    finally:
        await rig.artifacts.close()
        await rig.database.close()
    return tally


@contextmanager
def addresses(*, on_servers: bool) -> Iterator[tuple[str | None, str | None]]:
    """(database, artifacts) of servers started for this run, or nothing."""
    if not on_servers:
        yield None, None
        return
    postgres, s3 = obtain("postgres"), obtain("s3")
    try:
        os.environ.update(s3.environment)
        place, _, query = s3.url.partition("?")
        yield postgres.url, f"{place}/kills?{query}"
    finally:
        postgres.stop()
        s3.stop()


def main() -> int:
    """Exit 0 if every round held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--type", default="content")
    parser.add_argument("--servers", action="store_true", help="PostgreSQL and an S3 store")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, addresses(on_servers=arguments.servers) as (url, artifacts_url):
        tally = asyncio.run(prove(Path(folder), arguments.points, arguments.seed, arguments.type, url, artifacts_url))
    held = tally.rounds - len({problem.partition(":")[0] for problem in tally.problems})
    report(
        "kill_training",
        "kill -9 survived",
        held,
        f"of {tally.rounds}",
        lock_free_after_seconds=round(max(tally.lock_seconds), 2),
        killed_in=tally.killed_in,
        problems=tally.problems,
        seed=arguments.seed,
        servers=arguments.servers,
    )
    return 0 if not tally.problems else 1


if __name__ == "__main__":
    sys.exit(main())
