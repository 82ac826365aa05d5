"""One suite for every database: rows are chained, two writers leave no gap, and nothing can be changed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from app.application.audit_trail import verify_chain
from app.domain.audit import FIRST_PREVIOUS, AuditEntry, Outcome
from app.domain.stores import Database
from app.infrastructure.database import open_database

NOON = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)


def entry(number: int) -> AuditEntry:
    return AuditEntry(NOON, f"act-{number}", "cli:ada", "api_key.create", "web", Outcome.DONE, None, '{"ü":1}')


async def test_rows_come_back_chained_and_as_they_went_in(database: Database) -> None:
    rows = [await database.audit.append(entry(number)) for number in range(3)]

    assert [row.sequence for row in rows] == [1, 2, 3]
    assert [row.previous for row in rows] == [FIRST_PREVIOUS, rows[0].hash, rows[1].hash]
    assert list(await database.audit.read(0, 2)) == rows[:2]
    assert list(await database.audit.read(2, 9)) == rows[2:]
    assert list(await database.audit.newest(2)) == [rows[2], rows[1]]
    assert rows[0].entry == entry(0)


async def test_two_writers_leave_no_gap(database: Database, database_url: str) -> None:
    other = await open_database(database_url, pool_size=2, timeout_seconds=5, lease_seconds=60)
    try:
        for number in range(10):
            await asyncio.gather(database.audit.append(entry(number)), other.audit.append(entry(100 + number)))
    finally:
        await other.close()

    verdict = await verify_chain(database.audit)
    assert (verdict.rows, verdict.problems) == (20, ())


@pytest.mark.parametrize("statement", ["UPDATE {} SET actor = 'nobody'", "DELETE FROM {}"])
async def test_the_database_refuses_to_change_or_remove_rows(
    database: Database, database_url: str, statement: str
) -> None:
    await database.audit.append(entry(1))
    table = "audit_log" if database_url.startswith("sqlite") else "audit.audit_log"
    engine = create_async_engine(database_url)
    try:
        with pytest.raises(DBAPIError, match="never changed"):
            async with engine.begin() as connection:
                await connection.execute(sa.text(statement.format(table)))
    finally:
        await engine.dispose()

    assert (await verify_chain(database.audit)).problems == ()
