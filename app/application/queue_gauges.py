"""What waits: dead letters for a human, trainings for a worker. Looked up now and then, for the metrics alone."""

from __future__ import annotations

import asyncio

from app import telemetry
from app.domain.exceptions import UnavailableError
from app.domain.interfaces import JobQueue
from app.domain.stores import Database

PERIOD_SECONDS = 15.0
"""One scrape interval: the figures need not be newer than anybody sees them."""


async def watch_queues(database: Database, jobs: JobQueue, period_seconds: float = PERIOD_SECONDS) -> None:
    """Keep both gauges current until cancelled; while a dependency is away they keep their last value."""
    while True:
        try:
            telemetry.DEAD_LETTERS.set(await database.dead_letters.count())
            telemetry.JOB_QUEUE_DEPTH.set(await jobs.depth())
        except UnavailableError:
            telemetry.BACKGROUND_FAILURES.labels("queue_gauges").inc()
        await asyncio.sleep(period_seconds)
