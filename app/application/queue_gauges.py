"""What waits: dead letters and rows without a month for a human, trainings for a worker; and how trainings ended.

Looked up now and then, for the metrics alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app import telemetry
from app.domain.entities import FINAL_STATUSES, TrainingJob, TrainingStatus
from app.domain.exceptions import UnavailableError
from app.domain.interfaces import JobQueue
from app.domain.stores import Database

log = telemetry.get_logger(__name__)

PERIOD_SECONDS = 15.0
"""One scrape interval: the figures need not be newer than anybody sees them."""

_LOOKED_AT = 100
"""One training a model type can be queued, so those that wait are among the newest."""


async def watch_queues(database: Database, jobs: JobQueue, period_seconds: float = PERIOD_SECONDS) -> None:
    """Keep both gauges current until cancelled; while a dependency is away they keep their last value."""
    misplaced = 0
    while True:
        try:
            telemetry.DEAD_LETTERS.set(await database.dead_letters.count())
            misplaced = _told(misplaced, await database.interactions.misplaced())
            trainings = await database.trainings.list(_LOOKED_AT)
            telemetry.JOB_QUEUE_DEPTH.set(max(await jobs.depth(), _queued(trainings)))
            _show_outcomes(trainings)
        except UnavailableError:
            telemetry.BACKGROUND_FAILURES.labels("queue_gauges").inc()
        await asyncio.sleep(period_seconds)


def _told(before: int, now: int) -> int:
    """Show rows in the default partition: a month that has some gets no partition of its own, so somebody must act."""
    telemetry.MISPLACED_ROWS.set(now)
    if now > before:
        log.error("rows_in_default_partition", rows=now)
    return now


def _queued(trainings: Sequence[TrainingJob]) -> int:
    """Trainings no worker has begun: a row may wait without a ring, as a ring may wait for a row that is done."""
    return sum(job.status is TrainingStatus.QUEUED for job in trainings)


def _show_outcomes(trainings: Sequence[TrainingJob]) -> None:
    """When the newest training of each type and outcome ended; `trainings` are newest first."""
    for job in reversed(trainings):
        if job.status in FINAL_STATUSES and job.finished_at is not None:
            telemetry.LAST_TRAINING.labels(job.model_type, job.status.value).set(job.finished_at.timestamp())
