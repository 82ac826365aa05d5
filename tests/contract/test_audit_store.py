"""One suite for every database: rows are chained, two writers leave no gap, and nothing can be changed."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from app.application.audit_trail import AuditTrail, verify_chain
from app.domain.audit import FIRST_PREVIOUS, AuditEntry, Outcome, row_hash
from app.domain.audit_scope import Origin, asked_from, describe
from app.domain.entities import ApiKey
from app.domain.exceptions import ConflictError
from app.domain.stores import Database
from app.infrastructure.database import open_database
from tests.servers.postgres import execute

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


def key(name: str) -> ApiKey:
    return ApiKey(name, "web", "secret", frozenset({"recs:read"}), NOON)


async def test_a_change_and_its_row_are_one_transaction(database: Database) -> None:
    trail = AuditTrail(database.audit, lambda: NOON, "user:ada")
    with asked_from(Origin("k1", "hash", "request-1")):
        async with trail.change("api_key.create", "web"):
            describe(after={"key_id": "a"})
            await database.api_keys.add(key("a"))
            await database.api_keys.add(key("b"))

    [row] = await database.audit.newest(9)
    assert (row.entry.actor, row.entry.outcome, row.entry.after) == ("user:ada", Outcome.DONE, '{"key_id":"a"}')
    assert (row.entry.key_id, row.entry.address, row.entry.request_id) == ("k1", "hash", "request-1")
    assert (await verify_chain(database.audit)).problems == ()


async def test_a_change_that_is_refused_has_a_row_that_says_so(database: Database) -> None:
    trail = AuditTrail(database.audit, lambda: NOON, "user:ada")
    for name in ("a", "b"):
        await database.api_keys.add(key(name))
    with pytest.raises(ConflictError):
        async with trail.change("api_key.create", "web"):
            await database.api_keys.add(key("c"))

    [row] = await database.audit.newest(9)
    assert (row.entry.outcome, row.entry.after) == (Outcome.FAILED, '{"error":"ConflictError"}')


async def test_rows_of_the_first_version_still_verify_and_take_no_additions(
    database: Database, database_url: str
) -> None:
    row_of_before, table = entry(1), "audit_log" if database_url.startswith("sqlite") else "audit.audit_log"
    first = {"sequence": 1, "previous": FIRST_PREVIOUS, "hash": row_hash(1, FIRST_PREVIOUS, row_of_before, 1)}
    names = ("at", "act_id", "actor", "act", "target", "outcome", "before", "after")
    values = {**first, **{name: getattr(row_of_before, name) for name in names}, "outcome": "done"}
    if database_url.startswith("sqlite"):
        values["at"] = int(NOON.timestamp()) * 1_000_000 + NOON.microsecond
    engine = create_async_engine(database_url)
    places = ", ".join(f":{name}" for name in values)
    columns = ", ".join(f'"{name}"' for name in values)
    try:
        async with engine.begin() as connection:
            await connection.execute(sa.text(f"INSERT INTO {table} ({columns}) VALUES ({places})"), values)
        await database.audit.append(entry(2))
        assert [row.version for row in await database.audit.read(0, 9)] == [1, 2]
        assert (await verify_chain(database.audit)).problems == ()
        async with engine.begin() as connection:
            drop = (
                "DROP TRIGGER audit_log_no_update"
                if database_url.startswith("sqlite")
                else ("DROP TRIGGER audit_log_is_append_only ON audit.audit_log")
            )
            await connection.execute(sa.text(drop))
            await connection.execute(sa.text(f"UPDATE {table} SET address = 'x' WHERE sequence = 1"))
    finally:
        await engine.dispose()
    assert (await verify_chain(database.audit)).problems == ("row 1 was changed",)


@pytest.mark.real_servers
async def test_the_role_of_the_service_adds_rows_and_can_neither_change_nor_remove_them(postgres_url: str) -> None:
    """The statements of docs/audit.md, with names of this test's own."""
    name = "svc_" + postgres_url.rpartition("/")[2][-20:].replace("-", "_")
    execute(
        postgres_url,
        f"CREATE ROLE {name} LOGIN",
        f"CREATE ROLE {name}_audit NOLOGIN",
        f"ALTER TABLE audit.api_keys OWNER TO {name}",
        *_statements_of_the_document(name),
    )
    theirs = sa.engine.make_url(postgres_url).set(username=name).render_as_string(hide_password=False)
    service = await open_database(theirs, pool_size=2, timeout_seconds=5, lease_seconds=60)
    engine = create_async_engine(theirs)
    try:
        async with AuditTrail(service.audit, lambda: NOON, "user:ada").change("api_key.create", "web"):
            await service.api_keys.add(key("a"))
        for statement in (
            "UPDATE audit.audit_log SET actor = 'nobody'",
            "DELETE FROM audit.audit_log",
            "TRUNCATE audit.audit_log",
            "DROP TABLE audit.audit_log",
            "DROP TRIGGER audit_log_is_append_only ON audit.audit_log",
            "ALTER TABLE audit.audit_log DISABLE TRIGGER ALL",
        ):
            with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
                async with engine.begin() as connection:
                    await connection.execute(sa.text(statement))
        assert [row.entry.act for row in await service.audit.read(0, 9)] == ["api_key.create"]
    finally:
        await engine.dispose()
        await service.close()
        for role in (name, f"{name}_audit"):
            execute(postgres_url, f"REASSIGN OWNED BY {role} TO postgres")
        execute(postgres_url, f"DROP OWNED BY {name}, {name}_audit", f"DROP ROLE {name}, {name}_audit")


def _statements_of_the_document(service: str) -> list[str]:
    text = Path("docs/audit.md").read_text(encoding="utf-8").partition("```sql\n")[2].partition("```")[0]
    lines = [line.rstrip(";") for line in text.splitlines() if line and not line.startswith("CREATE ROLE")]
    return [re.sub(r"\bencore(?=_audit|$|;)", service, line) for line in lines]


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
