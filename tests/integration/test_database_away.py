"""PostgreSQL frozen, killed and locked: what somebody waits for ends within a second, and the rest soon after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from app.domain.exceptions import DatabaseUnavailableError
from app.domain.stores import Database
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from tests.servers.postgres import execute
from tests.servers.server import Server

pytestmark = pytest.mark.real_servers


@pytest.fixture
async def doomed(own_postgres: Server) -> AsyncIterator[Database]:
    """A migrated database whose server may be broken; every wait ends after 2 s, small lookups after 1."""
    await asyncio.to_thread(migrate, own_postgres.url)
    opened = await open_database(own_postgres.url, pool_size=6, timeout_seconds=2, lease_seconds=60)
    await asyncio.gather(*(opened.interactions.history("u1", 10) for _ in range(6)))
    yield opened
    await opened.close()


LOOKUP_SECONDS = 0.6
"""The server's own limit of a lookup."""

STUCK_SECONDS = 10.0
"""Limits end before, beside whatever else; the bars (D1) are measured by benchmarks/database_outages.py."""


async def seconds_of(work: Callable[[], Awaitable[object]]) -> float:
    """How long a call takes to say that the database is away."""
    began = time.perf_counter()
    with pytest.raises(DatabaseUnavailableError):
        await work()
    return time.perf_counter() - began


async def until_it_answers(database: Database, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await database.ping()
            except DatabaseUnavailableError:
                await asyncio.sleep(0.05)


async def test_a_frozen_server_costs_a_lookup_one_second_and_then_nothing(
    doomed: Database, own_postgres: Server
) -> None:
    own_postgres.control.pause()

    first = await asyncio.gather(*(seconds_of(lambda: doomed.interactions.history("u1", 10)) for _ in range(20)))
    later = await asyncio.gather(*(seconds_of(lambda: doomed.models.champion("hybrid")) for _ in range(20)))

    assert max(first) < STUCK_SECONDS
    assert max(later) < LOOKUP_SECONDS  # whoever asks a frozen server waits at least that long
    own_postgres.control.resume()
    await until_it_answers(doomed, 60)
    assert await doomed.interactions.history("u1", 10) == []


async def test_a_frozen_server_costs_a_report_its_timeout_and_no_polite_goodbye(
    doomed: Database, own_postgres: Server
) -> None:
    await doomed.interactions.count()
    own_postgres.control.pause()

    assert await seconds_of(doomed.interactions.count) < STUCK_SECONDS
    own_postgres.control.resume()


async def test_a_killed_server_is_noticed_at_once_and_found_again(doomed: Database, own_postgres: Server) -> None:
    own_postgres.control.kill()

    assert max([await seconds_of(lambda: doomed.interactions.history("u1", 10)) for _ in range(10)]) < LOOKUP_SECONDS

    own_postgres.control.restart()
    await until_it_answers(doomed, 60)


async def test_a_lock_that_others_wait_for_does_not_open_the_breaker(doomed: Database, own_postgres: Server) -> None:
    """Six statements in a row run into their limit; the server is there, so the seventh is still asked."""
    lock = asyncio.create_task(
        asyncio.to_thread(execute, own_postgres.url, "BEGIN; LOCK features.items; SELECT pg_sleep(6); COMMIT")
    )
    await asyncio.sleep(0.3)
    for _ in range(6):
        await seconds_of(lambda: doomed.catalog.get_item("i1"))

    assert await doomed.interactions.offsets("t") == []
    await lock
