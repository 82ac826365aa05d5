"""What could not be taken in is kept within bounds, and somebody hears of it when it is too much."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from app import telemetry
from app.application.ingestion.dead_letter_retention import LetterBounds, prune, watch_dead_letters
from app.domain.entities import DeadLetter, OutboxMessage
from app.domain.stores import Database, IngestBatch
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/encore.db"
    migrate(url)
    database = await open_database(url, pool_size=2, timeout_seconds=5, lease_seconds=60)
    yield database
    await database.close()


def letter(age_days: int) -> DeadLetter:
    return DeadLetter("http", "shape", b"x" * 100, "a" * 64, NOW - age_days * DAY)


async def test_the_oldest_letters_go_and_gauges_and_the_log_say_so(database: Database, log_stream: io.StringIO) -> None:
    await database.dead_letters.add([letter(age) for age in (40, 3, 2, 1, 0)])
    bounds = LetterBounds(max_rows=3, max_bytes=250, max_age=30 * DAY)
    before = telemetry.DEAD_LETTERS_DROPPED.labels("size")._value.get()

    assert await prune(database, bounds, NOW) == 3

    assert [kept.received_at for kept in await database.dead_letters.list(10)] == [NOW - DAY, NOW]
    assert telemetry.DEAD_LETTERS_HELD._value.get() == 2
    assert telemetry.DEAD_LETTER_BYTES._value.get() == 200
    assert telemetry.DEAD_LETTERS_DROPPED.labels("size")._value.get() - before == 2
    assert '"dead_letters_dropped"' in log_stream.getvalue()


async def test_letters_within_the_bounds_stay_and_nobody_is_alarmed(
    database: Database, log_stream: io.StringIO
) -> None:
    await database.dead_letters.add([letter(0)])
    assert await prune(database, LetterBounds(), NOW) == 0
    assert "dead_letters_dropped" not in log_stream.getvalue()


async def test_messages_that_went_out_go_after_as_long_and_those_that_wait_stay(database: Database) -> None:
    messages = [OutboxMessage(uuid4(), "t.dlq", "", b"x", {}, NOW - 60 * DAY) for _ in range(2)]
    await database.interactions.ingest(IngestBatch([], messages=messages))
    [first, second] = await database.outbox.claim(10, NOW - 60 * DAY, 1)
    assert first.sequence is not None
    await database.outbox.published([first.sequence], NOW - 40 * DAY)

    await prune(database, LetterBounds(), NOW)

    assert await database.outbox.prune(NOW + DAY) == 0
    assert [message.message_id for message in await database.outbox.claim(10, NOW, 1)] == [second.message_id]


async def test_a_running_process_keeps_the_bounds_between_the_nights(database: Database) -> None:
    await database.dead_letters.add([letter(0)] * 200)

    class EnoughError(Exception):
        """The watch has looked twice."""

    looks = iter((NOW, NOW))

    def clock() -> datetime:
        moment = next(looks, None)
        if moment is None:
            raise EnoughError
        return moment

    with pytest.raises(EnoughError):
        await watch_dead_letters(database, LetterBounds(max_rows=100), clock, period_seconds=0)
    assert await database.dead_letters.held() == (100, 10_000)
