"""The demo's data goes in once, whole, and never into somebody else's data."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from app.application.demo import demo_filling
from app.application.demo.demo_data import generate
from app.application.demo.demo_filling import fill
from app.domain.entities import Interaction, Kind
from app.domain.exceptions import ConflictError
from app.domain.stores import Database, IngestBatch
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class StopHere(Exception):  # noqa: N818 - it stands for kill -9, not for an error
    """Ends a fill at a stage."""


def ignore(stage: str, fraction: float) -> None:
    """A progress that nobody watches."""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/encore.db"
    migrate(url)
    opened = await open_database(url, pool_size=2, timeout_seconds=30, lease_seconds=30)
    yield opened
    await opened.close()


async def test_a_second_fill_a_day_later_adds_nothing(database: Database) -> None:
    assert await fill(database, NOW, ignore)
    stored = await database.interactions.count()
    assert stored == len(generate(NOW).interactions)
    assert not await fill(database, NOW + timedelta(days=1), ignore)
    assert await database.interactions.count() == stored


async def test_a_fill_that_was_killed_is_completed_with_its_own_anchor(database: Database) -> None:
    def stop_half_way(stage: str, fraction: float) -> None:
        if fraction > 0.5:
            raise StopHere

    with pytest.raises(StopHere):
        await fill(database, NOW, stop_half_way)
    assert 0 < await database.interactions.count() < len(generate(NOW).interactions)
    assert await fill(database, NOW + timedelta(hours=5), ignore)
    assert await database.interactions.count() == len(generate(NOW).interactions)


async def test_a_database_of_somebody_else_is_left_alone(database: Database) -> None:
    theirs = Interaction(uuid4(), "u", "i", Kind.LIKE, NOW)
    await database.interactions.ingest(IngestBatch([theirs]))
    with pytest.raises(ConflictError, match="other data"):
        await fill(database, NOW, ignore)
    assert await database.interactions.count() == 1


def test_the_marks_it_looks_for_are_the_first_item_and_the_last_person() -> None:
    data = generate(NOW)
    assert data.items[0].item_id == demo_filling.FIRST_ITEM
    assert data.users[-1].user_id == demo_filling.LAST_USER
