"""The metrics say how many dead letters and trainings wait."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app import telemetry
from app.application.queue_gauges import watch_queues
from app.domain.entities import DeadLetter, TrainingJob, TrainingStatus
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from app.infrastructure.jobs import open_job_queue


async def test_a_dead_letter_is_seen_within_a_period(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/encore.db"
    migrate(url)
    database = await open_database(url, pool_size=2, timeout_seconds=10, lease_seconds=30)
    jobs = await open_job_queue("local://")
    watching = asyncio.create_task(watch_queues(database, jobs, period_seconds=0.02))
    try:
        await database.dead_letters.add([DeadLetter("http", "decode", b"x", "0" * 64, datetime.now(UTC))])
        for _ in range(250):
            if telemetry.REGISTRY.get_sample_value("encore_dead_letters") == 1:
                break
            await asyncio.sleep(0.02)
        assert telemetry.REGISTRY.get_sample_value("encore_dead_letters") == 1
        assert telemetry.REGISTRY.get_sample_value("encore_job_queue_depth") == 0
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await jobs.close()
        await database.close()


async def test_how_the_newest_training_of_each_outcome_ended_is_seen_although_it_ran_elsewhere(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/encore.db"
    migrate(url)
    database = await open_database(url, pool_size=2, timeout_seconds=10, lease_seconds=30)
    jobs = await open_job_queue("local://")
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for number in range(3):
        created = noon + timedelta(hours=number)
        await database.trainings.create(TrainingJob(f"t{number}", "bpr", TrainingStatus.QUEUED, created))
        await database.trainings.cancel(f"t{number}", created + timedelta(minutes=1))
    watching = asyncio.create_task(watch_queues(database, jobs, period_seconds=60))
    try:
        newest = (noon + timedelta(hours=2, minutes=1)).timestamp()
        labels = {"model_type": "bpr", "status": "cancelled"}
        for _ in range(250):
            if telemetry.REGISTRY.get_sample_value("encore_last_training_timestamp_seconds", labels) == newest:
                break
            await asyncio.sleep(0.02)
        assert telemetry.REGISTRY.get_sample_value("encore_last_training_timestamp_seconds", labels) == newest
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await jobs.close()
        await database.close()
