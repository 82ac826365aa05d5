"""Bring the schema up to date: Alembic, from `alembic/` of the repository, which the wheel holds beside this file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from app.infrastructure.database.dialects import choose_dialect
from app.infrastructure.database.dialects.choose import parse_url
from app.infrastructure.database.driver_errors import translated
from app.infrastructure.private_files import make_private_folder

_IN_WHEEL = Path(__file__).parent / "migrations"
MIGRATIONS = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parents[3] / "alembic"
_LOCK_TIMEOUT_SECONDS = 60.0  # another process may be migrating: wait for it, then find nothing left to do


def alembic_config(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration without a file; `connection` is what env.py runs on."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


@cache
def newest_revision() -> str | None:
    """The newest migration this code has."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def applied_revision(connection: sa.Connection) -> str | None:
    """The newest migration the database has; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(url: str, revision: str = "head") -> None:
    """Upgrade (or, to an older revision, downgrade) in one transaction, one process at a time.

    Blocking; works with and without a running event loop. Raises DatabaseUnavailableError, ConfigurationError.
    """
    run_on_database(url, lambda connection: _move(connection, revision))


def run_on_database(url: str, work: Callable[[sa.Connection], None]) -> None:
    """Call `work` in a transaction that no other migration can enter."""
    database = parse_url(url).database
    if url.startswith("sqlite") and database:
        make_private_folder(Path(database).parent)
    with ThreadPoolExecutor(1, thread_name_prefix="migrate") as executor, translated():
        executor.submit(asyncio.run, _run(url, work)).result()


async def _run(url: str, work: Callable[[sa.Connection], None]) -> None:
    dialect = choose_dialect(url, pool_size=1, timeout_seconds=_LOCK_TIMEOUT_SECONDS)
    try:
        async with dialect.write() as connection:
            await dialect.advisory_lock(connection, "migrations")
            await connection.run_sync(work)
    finally:
        await dialect.close()


def _move(connection: sa.Connection, revision: str) -> None:
    config = alembic_config(connection)
    applied = applied_revision(connection)
    below = ScriptDirectory.from_config(config).iterate_revisions(applied, "base") if applied else ()
    is_behind_us = revision == "base" or revision in {step.revision for step in below}
    (command.downgrade if is_behind_us else command.upgrade)(config, revision)
