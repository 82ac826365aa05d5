"""What only PostgreSQL has: partitions, sequences of transactions in flight, timeouts against a frozen server."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import sqlalchemy as sa

from app import telemetry
from app.application.queue_gauges import watch_queues
from app.domain.entities import IngestOutcome, Interaction, Kind
from app.domain.exceptions import DatabaseUnavailableError, InputError
from app.domain.stores import Database, IngestBatch
from app.infrastructure.database import open_database
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.dialects import choose_dialect
from app.infrastructure.database.migrate import migrate
from app.infrastructure.jobs import open_job_queue
from tests.servers.postgres import on_database
from tests.servers.server import Server

pytestmark = pytest.mark.real_servers

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Erased until then: everybody may come back."""


def like(user_id: str, moment: datetime, item_id: str = "i1") -> Interaction:
    return Interaction(uuid4(), user_id, item_id, Kind.LIKE, moment)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    opened = await open_database(postgres_url, pool_size=5, timeout_seconds=5, lease_seconds=60)
    yield opened
    await opened.close()


@pytest.fixture
async def connections(postgres_url: str) -> AsyncIterator[Connections]:
    """The same database, to be looked into."""
    opened = Connections(choose_dialect(postgres_url, pool_size=3, timeout_seconds=5))
    yield opened
    await opened.dialect.close()


async def rows_by_partition(connections: Connections) -> dict[str, int]:
    query = sa.text("SELECT tableoid::regclass::text, count(*) FROM features.interactions GROUP BY 1")
    async with connections.read() as connection:
        return {name.removeprefix("features."): count for name, count in (await connection.execute(query)).all()}


async def partitions(connections: Connections) -> set[str]:
    query = sa.text(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'features.interactions'::regclass"
    )
    async with connections.read() as connection:
        return {name.removeprefix("features.") for name in (await connection.execute(query)).scalars()}


async def test_rows_lie_in_the_partition_of_their_month_in_utc(database: Database, connections: Connections) -> None:
    moments = [
        datetime(1996, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1996, 3, 1, tzinfo=UTC),
        datetime(2018, 12, 31, tzinfo=UTC),
    ]

    await database.interactions.ingest(IngestBatch([like("u1", moment) for moment in moments]))

    assert await rows_by_partition(connections) == {
        "interactions_199602": 1,
        "interactions_199603": 1,
        "interactions_201812": 1,
    }


async def test_partitions_are_made_months_ahead(database: Database, connections: Connections) -> None:
    now = datetime.now(UTC)
    month = now.year * 12 + now.month - 1

    await database.interactions.ingest(IngestBatch([like("u1", now)]))

    expected = {f"interactions_{(month + n) // 12}{(month + n) % 12 + 1:02d}" for n in range(4)}
    assert expected <= await partitions(connections)


async def test_far_dates_make_no_partitions_and_lie_in_the_default_one(
    database: Database, connections: Connections
) -> None:
    await database.interactions.ingest(IngestBatch([like("u1", datetime(2099, 5, 5, tzinfo=UTC))]))

    assert "interactions_209905" not in await partitions(connections)
    assert await rows_by_partition(connections) == {"interactions_default": 1}


async def test_rows_in_the_default_partition_are_an_alarm(database: Database, log_stream: io.StringIO) -> None:
    await database.interactions.ingest(IngestBatch([like("u1", datetime(2026, 1, 5, tzinfo=UTC))]))
    assert await database.interactions.misplaced() == 0
    await database.interactions.ingest(IngestBatch([like("u1", datetime(2099, 5, 5, tzinfo=UTC))]))
    jobs = await open_job_queue("local://")

    watching = asyncio.create_task(watch_queues(database, jobs, period_seconds=0.02))
    async with asyncio.timeout(60):
        while telemetry.REGISTRY.get_sample_value("encore_default_partition_rows") != 1:  # noqa: ASYNC110 - as scraped
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    watching.cancel()
    await jobs.close()

    assert log_stream.getvalue().count("rows_in_default_partition") == 1


async def test_a_month_that_has_rows_in_the_default_partition_stays_there(
    database: Database, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(_moments: object) -> None:
        """A writer that could not make partitions."""

    with monkeypatch.context() as patch:
        patch.setattr("app.infrastructure.database.dialects.postgresql.PostgresDialect.prepare_months", none)
        patch.setattr(
            "app.infrastructure.database.connections.Connections.prepare_months", lambda _self, moments: none(moments)
        )
        await database.interactions.ingest(IngestBatch([like("u1", datetime(2001, 5, 5, tzinfo=UTC))]))

    await database.interactions.ingest(IngestBatch([like("u2", datetime(2001, 5, 6, tzinfo=UTC))]))

    assert await rows_by_partition(connections) == {"interactions_default": 2}


async def test_one_event_id_in_two_months_is_one_row(database: Database) -> None:
    event = like("u1", datetime(2020, 1, 31, tzinfo=UTC))
    moved = Interaction(event.event_id, "u1", "i1", Kind.LIKE, datetime(2020, 2, 1, tzinfo=UTC))
    await database.interactions.ingest(IngestBatch([event]))

    result = await database.interactions.ingest(IngestBatch([moved, event]))

    assert result.outcomes == (IngestOutcome.CONFLICT, IngestOutcome.DUPLICATE)
    assert await database.interactions.count() == 1


async def test_users_since_never_passes_over_a_transaction_that_is_still_open(
    database: Database, connections: Connections
) -> None:
    """One writer draws its sequences and waits; another, later one commits. The first must still be seen."""
    dialect = connections.dialect
    async with connections.write() as slow:
        await dialect.stage(slow, {"position": ()})  # takes its place in the order
        await database.interactions.ingest(IngestBatch([like("fast", datetime(2020, 1, 1, tzinfo=UTC))]))
        while_open, seen = await database.interactions.users_since(0, 100)
    after, newest = await database.interactions.users_since(seen, 100)

    assert set(while_open) == set()
    assert set(after) == {"fast"}
    assert newest > seen


async def test_a_user_erased_during_an_ingest_leaves_no_orphans(database: Database, connections: Connections) -> None:
    await database.interactions.ingest(IngestBatch([like("u1", datetime(2020, 1, 1, tzinfo=UTC))]))

    async def write() -> None:
        for number in range(30):
            await database.interactions.ingest(
                IngestBatch([like("u1", datetime(2020, 1, 1, tzinfo=UTC), f"i{number}")])
            )

    async def erase() -> None:
        for _ in range(30):
            await database.catalog.remove_user("u1", LONG_AGO)

    await asyncio.gather(write(), erase())
    orphans = sa.text(
        "SELECT (SELECT count(*) FROM features.interactions i LEFT JOIN features.users u USING (user_key)"
        " WHERE u.user_key IS NULL) + (SELECT count(*) FROM features.pair_states p LEFT JOIN features.users u"
        " USING (user_key) WHERE u.user_key IS NULL)"
        " + (SELECT count(*) FROM features.event_ids e LEFT JOIN features.interactions i USING (event_id)"
        " WHERE i.event_id IS NULL)"
    )
    async with connections.read() as connection:
        assert (await connection.execute(orphans)).scalar_one() == 0


async def test_every_session_has_its_limits(connections: Connections) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    async with connections.read() as connection:
        limits = [(await connection.execute(sa.text(f"SHOW {name}"))).scalar_one() for name in names]

    assert limits == ["5s", "5s", "10s"]


async def test_text_that_postgres_cannot_hold_is_the_callers_fault(database: Database) -> None:
    with pytest.raises(InputError):
        await database.interactions.ingest(IngestBatch([like("a\0b", datetime(2020, 1, 1, tzinfo=UTC))]))

    await database.ping()


@pytest.fixture
async def fragile(own_postgres: Server) -> AsyncIterator[Database]:
    """A database on a server of this test's own, with short timeouts."""
    url = on_database(own_postgres.url, "postgres")
    await asyncio.to_thread(migrate, url)
    opened = await open_database(url, pool_size=4, timeout_seconds=1, lease_seconds=60)
    await opened.interactions.ingest(IngestBatch([like("u1", datetime(2020, 1, 1, tzinfo=UTC))]))
    yield opened
    await opened.close()


async def test_a_frozen_server_is_unavailable_within_the_timeout_and_the_pool_recovers(
    fragile: Database, own_postgres: Server
) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [fragile.ping, fragile.interactions.count] * 15
    own_postgres.control.pause()
    try:
        async with asyncio.timeout(20):  # one after the other: thirty times a second and more
            results = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
    finally:
        own_postgres.control.resume()

    assert {type(result) for result in results} == {DatabaseUnavailableError}
    deadline = time.monotonic() + 60
    while True:
        try:
            assert len(await fragile.interactions.history("u1", 10)) == 1
            break
        except DatabaseUnavailableError:
            assert time.monotonic() < deadline
    results = await asyncio.gather(*(fragile.ping() for _ in range(20)))
    assert len(results) == 20
