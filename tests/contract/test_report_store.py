"""The suite of the ReportStore port, run over every adapter through the production opener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.reports import Report
from app.domain.stores import Database
from app.infrastructure.database import open_database
from tests.contract.conftest import LEASE_SECONDS

SLOT = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 21, 3, 0, 30, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """The same database as another process sees it."""
    opened = await open_database(database_url, pool_size=3, timeout_seconds=5, lease_seconds=LEASE_SECONDS)
    yield opened
    await opened.close()


async def made(database: Database, slot: datetime, **figures: object) -> None:
    assert await database.reports.claim("kpis", slot, NOW)
    assert await database.reports.finish(Report("kpis", slot, NOW, LATER, None, figures))


async def test_of_many_who_claim_a_slot_at_once_one_gets_it(database: Database, other: Database) -> None:
    claims = [(database, other)[number % 2].reports.claim("kpis", SLOT, NOW) for number in range(10)]

    assert sorted(await asyncio.gather(*claims)) == [False] * 9 + [True]
    assert await database.reports.claim("kpis", SLOT + timedelta(minutes=5), NOW)
    assert await database.reports.claim("evaluation:hybrid", SLOT, NOW)


async def test_figures_are_stored_once_and_found_again(database: Database, other: Database) -> None:
    assert await database.reports.latest("kpis") is None
    assert await database.reports.claim("kpis", SLOT, NOW)

    report = Report("kpis", SLOT, NOW, LATER, "model-1", {"active_users": 3, "share": 0.5})
    assert await database.reports.finish(report)

    assert await other.reports.latest("kpis") == report
    assert not await other.reports.is_due("kpis", SLOT, LATER)
    assert not await other.reports.finish(Report("kpis", SLOT, NOW, LATER, None, {"active_users": 4}))
    assert not await other.reports.claim("kpis", SLOT, LATER)
    assert await other.reports.latest("kpis") == report


async def test_the_newest_come_first_and_only_those_of_the_name_that_are_made(database: Database) -> None:
    for days in range(3):
        await made(database, SLOT + timedelta(days=days), day=days)
    assert await database.reports.claim("kpis", SLOT + timedelta(days=3), NOW)

    assert [report.figures["day"] for report in await database.reports.newest("kpis", 2)] == [2, 1]
    assert len(await database.reports.newest("kpis", 10)) == 3
    assert await database.reports.newest("evaluation", 10) == []


async def test_a_claim_is_not_taken_from_a_process_that_lives(database: Database, other: Database) -> None:
    assert await other.reports.is_due("kpis", SLOT, NOW)
    assert await database.reports.claim("kpis", SLOT, NOW)

    assert not await other.reports.is_due("kpis", SLOT, LATER)
    assert not await other.reports.claim("kpis", SLOT, LATER)


async def test_the_claim_of_a_process_that_died_goes_to_one_other(database: Database, other: Database) -> None:
    assert await other.reports.claim("kpis", SLOT, NOW)
    await other.close()  # its signs of life go with it, as they do with a process
    assert not await database.reports.is_due("kpis", SLOT, NOW)
    assert await database.reports.is_due("kpis", SLOT, LATER)

    claims = [database.reports.claim("kpis", SLOT, LATER) for _ in range(5)]

    assert sorted(await asyncio.gather(*claims)) == [False] * 4 + [True]


async def test_the_newest_slot_with_figures_is_the_latest(database: Database) -> None:
    await made(database, SLOT, active_users=1)
    await made(database, SLOT + timedelta(days=1), active_users=2)
    assert await database.reports.claim("kpis", SLOT + timedelta(days=2), NOW)

    latest = await database.reports.latest("kpis")

    assert latest is not None
    assert latest.figures == {"active_users": 2}


async def test_old_figures_go_and_the_newest_stay(database: Database) -> None:
    for days in range(3):
        await made(database, SLOT + timedelta(days=days), active_users=days)

    assert await database.reports.prune("kpis", SLOT + timedelta(days=30)) == 2
    assert await database.reports.prune("evaluation:hybrid", SLOT + timedelta(days=30)) == 0

    latest = await database.reports.latest("kpis")
    assert latest is not None
    assert latest.figures == {"active_users": 2}
