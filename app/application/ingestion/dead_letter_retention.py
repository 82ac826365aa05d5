"""How much is kept of what could not be taken in: bounded in number, bytes and age; the oldest go first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app import telemetry
from app.domain.exceptions import UnavailableError
from app.domain.queue_stores import DeadLetterStore
from app.domain.stores import Database

log = telemetry.get_logger(__name__)

PERIOD_SECONDS = 60.0
"""How often a process looks: between two looks a producer can add what a minute of its rate limit allows."""


@dataclass(frozen=True, slots=True)
class LetterBounds:
    """`max_rows` letters of together `max_bytes` payload, none older than `max_age`."""

    max_rows: int = 100_000
    max_bytes: int = 268_435_456
    max_age: timedelta = timedelta(days=30)


async def prune(database: Database, bounds: LetterBounds, now: datetime) -> int:
    """Delete what is beyond the bounds, and what went out of the outbox as long ago. Returns how many letters went.

    Raises DatabaseUnavailableError. Letters that go because there are too many are an alarm: somebody sends poison
    faster than people look at it.
    """
    before = now - bounds.max_age
    await database.outbox.prune(before)
    return await _fit(database.dead_letters, bounds, before)


async def _fit(letters: DeadLetterStore, bounds: LetterBounds, before: datetime) -> int:
    too_old = await letters.prune(before)
    too_many = await letters.keep_newest(bounds.max_rows, bounds.max_bytes)
    telemetry.DEAD_LETTERS_DROPPED.labels("age").inc(too_old)
    telemetry.DEAD_LETTERS_DROPPED.labels("size").inc(too_many)
    if too_many:
        log.error("dead_letters_dropped", letters=too_many, max_rows=bounds.max_rows, max_bytes=bounds.max_bytes)
    rows, size = await letters.held()
    telemetry.DEAD_LETTERS_HELD.set(rows)
    telemetry.DEAD_LETTER_BYTES.set(size)
    return too_old + too_many


async def watch_dead_letters(
    database: Database,
    bounds: LetterBounds,
    clock: Callable[[], datetime],
    period_seconds: float = PERIOD_SECONDS,
) -> None:
    """Keep the bounds and the gauges until cancelled: a night is long for a producer of poison."""
    while True:
        try:
            await _fit(database.dead_letters, bounds, clock() - bounds.max_age)
        except UnavailableError:
            telemetry.BACKGROUND_FAILURES.labels("dead_letters").inc()
        await asyncio.sleep(period_seconds)
