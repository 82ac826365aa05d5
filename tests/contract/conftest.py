"""The database adapters, through the production opener: every suite that asks for `database` runs on each of them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.domain.stores import Database
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate

LEASE_SECONDS = 60.0


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database to copy from: quicker than a migration per test."""
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite+aiosqlite:///{file}")
    return file


@pytest.fixture
def sqlite_url(migrated_sqlite_file: Path, tmp_path: Path) -> str:
    """A migrated SQLite file of this test's own."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_sqlite_file, tmp_path / 'encore.db')}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.real_servers)])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database of this test's own."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The opened database."""
    opened = await open_database(database_url, pool_size=5, timeout_seconds=5, lease_seconds=LEASE_SECONDS)
    yield opened
    await opened.close()
