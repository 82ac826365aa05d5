"""Migrations: up, down, up; no drift; one process at a time; nothing half-done."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from app.domain.exceptions import ConfigurationError, DatabaseUnavailableError
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import alembic_config, migrate, run_on_database

MAX_LOCK_SECONDS = 2.0


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.real_servers)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/new/folder/encore.db"
    return str(request.getfixturevalue("empty_postgres_url"))


def tables(url: str) -> set[str]:
    """What there is, Alembic's own table and PostgreSQL's partitions apart."""
    found: set[str] = set()

    def look(connection: sa.Connection) -> None:
        inspector = sa.inspect(connection)
        for schema in ("features", "training", "experiments", "audit") if "postgresql" in url else (None,):
            found.update(inspector.get_table_names(schema=schema))

    run_on_database(url, look)
    return {name for name in found if name != "alembic_version" and not name.startswith("interactions_")}


def test_every_migration_goes_up_down_and_up_again(empty_url: str) -> None:
    steps = [step.revision for step in ScriptDirectory.from_config(alembic_config()).walk_revisions()][::-1]
    below = "base"
    for revision in steps:
        migrate(empty_url, revision)
        after_first = tables(empty_url)
        migrate(empty_url, below)
        migrate(empty_url, revision)

        assert tables(empty_url) == after_first
        below = revision

    migrate(empty_url, "base")
    assert tables(empty_url) == set()
    migrate(empty_url)
    assert "interactions" in tables(empty_url)


def test_the_migrations_make_the_tables_that_the_code_describes(empty_url: str) -> None:
    migrate(empty_url)

    run_on_database(empty_url, lambda connection: command.check(alembic_config(connection)))


def test_migrating_again_does_nothing(empty_url: str) -> None:
    migrate(empty_url)
    before = tables(empty_url)

    migrate(empty_url)

    assert tables(empty_url) == before


def test_several_processes_may_migrate_at_once(empty_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=migrate, args=(empty_url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert "interactions" in tables(empty_url)


def test_a_migration_that_fails_leaves_nothing(empty_url: str) -> None:
    def fail_late(connection: sa.Connection) -> None:
        command.upgrade(alembic_config(connection), "head")
        raise RuntimeError("the machine went away")

    with pytest.raises(RuntimeError):
        run_on_database(empty_url, fail_late)

    assert tables(empty_url) == set()


@pytest.mark.real_servers
@pytest.mark.slow
async def test_migrations_beside_writers_and_readers_hold_nobody_up(empty_postgres_url: str) -> None:
    """D3: from the first revision to the newest and back, step by step, while others write and read."""
    steps = [step.revision for step in ScriptDirectory.from_config(alembic_config()).walk_revisions()][::-1]
    await asyncio.to_thread(migrate, empty_postgres_url, steps[0])
    pool = await asyncpg.create_pool(empty_postgres_url.replace("+asyncpg", ""), min_size=3, max_size=3)
    stopping, seconds = asyncio.Event(), list[float]()
    write = (
        "INSERT INTO features.users (user_id, attributes, fingerprint, updated_at) "
        "SELECT gen_random_uuid()::text, '{}', '', now() FROM generate_series(1, 20)"
    )

    async def keep_on(sql: str) -> None:
        while not stopping.is_set():
            began = time.perf_counter()
            await pool.execute(sql)
            seconds.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)

    others = [asyncio.create_task(keep_on(sql)) for sql in (write, "SELECT count(*) FROM features.interactions")]
    for revision in [*steps[1:], *steps[-2::-1], *steps[1:]]:
        await asyncio.to_thread(migrate, empty_postgres_url, revision)
        await asyncio.sleep(0.1)
    stopping.set()
    await asyncio.gather(*others)

    assert len(seconds) > 20
    assert max(seconds) < MAX_LOCK_SECONDS
    assert await pool.fetchval("SELECT count(*) FROM features.users") > 200
    await pool.close()


async def test_a_database_says_whether_its_schema_is_current(empty_url: str) -> None:
    database = await open_database(
        empty_url.replace("/new/folder", ""), pool_size=2, timeout_seconds=5, lease_seconds=9
    )
    try:
        assert await database.schema_is_current() is False
        await asyncio.to_thread(migrate, empty_url.replace("/new/folder", ""))
        assert await database.schema_is_current() is True
    finally:
        await database.close()


async def test_without_tables_the_error_says_what_to_do(empty_url: str) -> None:
    database = await open_database(
        empty_url.replace("/new/folder", ""), pool_size=2, timeout_seconds=5, lease_seconds=9
    )
    try:
        with pytest.raises(DatabaseUnavailableError, match="encore migrate"):
            await database.interactions.count()
        with pytest.raises(DatabaseUnavailableError, match="encore migrate"):
            await database.interactions.history("u1", 10)
    finally:
        await database.close()


async def test_migrate_works_inside_a_running_loop(empty_url: str) -> None:
    migrate(empty_url)

    assert threading.active_count() < 20


@pytest.mark.parametrize(
    "url", ["mysql://u:secret@h/d", "nonsense", "sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:", ""]
)
async def test_a_url_nobody_takes_is_refused_by_setting_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await open_database(url, pool_size=1, timeout_seconds=1, lease_seconds=1)

    assert refused.value.setting == "ENCORE_DATABASE_URL"
    assert "secret" not in str(refused.value)
