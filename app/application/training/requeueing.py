"""Trainings that wait and that nobody was rung for."""

from __future__ import annotations

from datetime import datetime

from app.domain.entities import TrainingStatus
from app.domain.interfaces import JobQueue
from app.domain.stores import Database


async def requeue_pending(database: Database, jobs: JobQueue, asked_before: datetime | None = None) -> int:
    """Ring again for trainings that a process which is gone has left in the queue; returns how many.

    `asked_before`: only for those that wait since then; a worker may be starting on the others.
    """
    queued = [
        job
        for job in await database.trainings.list(100)
        if job.status is TrainingStatus.QUEUED and (asked_before is None or job.created_at < asked_before)
    ]
    for job in reversed(queued):
        await jobs.submit(job.training_id)
    return len(queued)
