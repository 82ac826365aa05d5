"""PostgreSQL ≥ 15 by asyncpg: partitions by month, binary COPY both ways, a timeout on everything.

The server ends a statement before the client gives up waiting, so that a connection is still whole afterwards; the
client's own deadline is asyncpg's `command_timeout`, which also holds when the server is frozen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from uuid import UUID

import asyncpg
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.domain.interaction_table import moments_of
from app.infrastructure.database import staging
from app.infrastructure.database.dialects.base import Dialect, Insert, StagedColumns, TimeRange
from app.infrastructure.database.dialects.binary_copy import RowBuffer
from app.infrastructure.database.dialects.connector import Connector
from app.infrastructure.database.dialects.leases import closes_whole, dispose, leased
from app.infrastructure.database.dialects.partitions import Months
from app.infrastructure.database.json_text import dump_json
from app.infrastructure.database.statement_spans import trace_statements
from app.infrastructure.uninterrupted import uninterrupted

_CLIENT_PATIENCE_SECONDS = 0.5  # how much longer than the server's limit the client waits
_LOW_LATENCY_SECONDS = 0.6
_LOW_LATENCY_PATIENCE_SECONDS = 0.2  # together 0.8 s: every answer within 1.5 s while the server is frozen (D1)
_CLOSE_SECONDS = 2.0
_BULK_TIMEOUT_SECONDS = 600.0  # reading everything for a training may take minutes; it holds no lock that others need
_BLOCK_BITS = 20
MAX_BATCH = 1 << _BLOCK_BITS
"""Each ingest takes one block of sequences, so that one `nextval` serves a whole batch."""

_IN_FLIGHT = 0x454E << 48  # "EN": keeps our advisory locks apart from anybody else's
_TAKE_BLOCK = sa.text(
    # The lock says "rows above this block may still appear" and must be held before the block is drawn.
    "WITH held AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(CAST(:base AS bigint) + last_value)"
    " FROM features.interactions_blocks) SELECT nextval('features.interactions_blocks') FROM held"
)
_LAST_BLOCK = sa.text("SELECT last_value FROM features.interactions_blocks")
_FLYING_BLOCK = sa.text(
    "SELECT min((CAST(classid AS bigint) << 32 | CAST(objid AS bigint)) - CAST(:base AS bigint)) FROM pg_locks"
    " WHERE locktype = 'advisory' AND objsubid = 1 AND CAST(classid AS bigint) >> 16 = CAST(:base AS bigint) >> 48"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
# One lock for everybody: erasures are rare and short, and a lock on the row of each user costs a write of each.
_ERASING = 0x4552 << 48  # "ER"
_KEEP_USERS = sa.text("SELECT pg_advisory_xact_lock_shared(CAST(:lock AS bigint))").bindparams(lock=_ERASING)
_ERASE_ALONE = sa.text("SELECT pg_advisory_xact_lock(CAST(:lock AS bigint))").bindparams(lock=_ERASING)
_MISPLACED = sa.text("SELECT count(*) FROM features.interactions_default")
_BEGINNING, _END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_COLUMNS = (
    "SELECT user_key, item_key, kind, coalesce(value, 'NaN'), coalesce(duration, 'NaN'), occurred_at, event_id"
    " FROM features.interactions WHERE occurred_at >= $1 AND occurred_at < $2"
)


class PostgresDialect(Dialect):
    """Two pools, so that ingestion and reports cannot keep the small lookups of requests waiting.

    Reads are single statements in autocommit, so that they cost one round trip.
    """

    name = "postgresql"
    bulk_rows = 10_000  # each statement ends well within its timeout, on a slow disk too

    def __init__(self, url: URL, *, pool_size: int, timeout_seconds: float) -> None:
        self._timeout = timeout_seconds
        low_latency_size = max(pool_size // 2, 1)
        self._connector = Connector()
        make = partial(_engine, url, self._connector)
        self._engine = make(max(pool_size - low_latency_size, 1), timeout_seconds, _CLIENT_PATIENCE_SECONDS)
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        low_latency_seconds = min(timeout_seconds, _LOW_LATENCY_SECONDS)
        self._low_latency_engine = make(low_latency_size, low_latency_seconds, _LOW_LATENCY_PATIENCE_SECONDS)
        self._low_latency_reader = self._low_latency_engine.execution_options(isolation_level="AUTOCOMMIT")
        self._months = Months()
        self._life: dict[str, AsyncConnection] = {}

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        async with leased(self._reader) as connection:
            yield connection

    @asynccontextmanager
    async def low_latency(self) -> AsyncIterator[AsyncConnection]:
        async with leased(self._low_latency_reader) as connection:
            yield connection

    async def low_latency_rows(
        self, query: sa.Select[Any], parameters: Mapping[str, object]
    ) -> Sequence[Sequence[Any]]:
        async with self.low_latency() as connection:
            rows: Sequence[Sequence[Any]] = (await connection.execute(query, parameters)).all()
            return rows

    def decode_moment(self, moment: datetime) -> datetime:
        return moment

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        async with leased(self._engine) as connection, connection.begin():
            yield connection

    def insert(self, table: sa.Table) -> Insert:
        return postgresql.insert(table)

    async def advisory_lock(self, connection: AsyncConnection, name: str) -> None:
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))

    async def hold(self, name: str) -> None:
        connection = self._life.get(name)
        if connection is None:
            # A connection of its own: the lock lives and dies with it, on the server's side too.
            self._life[name] = connection = await uninterrupted(self._connected())
        try:
            # Holding it again is allowed, and shows that the connection still lives.
            await connection.execute(sa.select(sa.func.pg_try_advisory_lock(_lock_key(name))))
        except BaseException:
            await uninterrupted(self.release(name))
            raise

    async def release(self, name: str) -> None:
        connection = self._life.pop(name, None)
        if connection is not None:
            await connection.invalidate()
            await connection.close()

    async def is_held(self, connection: AsyncConnection, name: str) -> bool:
        free = await connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_lock_key(name))))
        return not free.scalar_one()

    async def prepare_months(self, moments: Iterable[datetime]) -> None:
        missing = self._months.missing(moments)
        if missing:
            async with self.write() as connection:
                await self.advisory_lock(connection, "months")
                await self._months.create(connection, missing)

    async def misplaced(self, connection: AsyncConnection) -> int:
        return int((await connection.execute(_MISPLACED)).scalar_one())

    def encode_id(self, event_id: UUID) -> UUID:
        return event_id

    def encode_moment(self, moment: datetime) -> datetime:
        return moment

    def encode_ids(self, event_ids: Sequence[bytes]) -> Sequence[UUID]:
        return [UUID(bytes=event_id) for event_id in event_ids]

    def encode_micros(self, micros: Sequence[int]) -> Sequence[datetime]:
        return list(moments_of(micros))

    async def stage(self, connection: AsyncConnection, columns: StagedColumns) -> None:
        count = len(columns["position"])
        if count > MAX_BATCH:
            raise ValueError(f"a batch holds at most {MAX_BATCH:,} interactions")
        for statement in staging.CREATE:
            await connection.execute(statement)
        block: int = (await connection.execute(_TAKE_BLOCK, {"base": _IN_FLIGHT})).scalar_one()
        first = block << _BLOCK_BITS
        driver = await _driver(connection)
        await driver.copy_records_to_table(
            "staged",
            records=zip(*columns.values(), range(first, first + count), strict=True),
            columns=(*columns, "sequence"),
        )

    async def keep_users(self, connection: AsyncConnection) -> None:
        await connection.execute(_KEEP_USERS)

    async def erase_alone(self, connection: AsyncConnection) -> None:
        await connection.execute(_ERASE_ALONE)

    async def settled_sequence(self, connection: AsyncConnection) -> int:
        # In this order: whoever takes a lock after the second look draws a block above the first.
        last: int = (await connection.execute(_LAST_BLOCK)).scalar_one()
        flying: int | None = (await connection.execute(_FLYING_BLOCK, {"base": _IN_FLIGHT})).scalar_one()
        settled = last if flying is None else min(last, flying)
        return (settled + 1 << _BLOCK_BITS) - 1

    async def read_columns(self, window: TimeRange) -> NDArray[np.void]:
        buffer = RowBuffer()
        since = window.since or _BEGINNING
        until = window.until or _END
        async with self.write() as connection:
            await connection.execute(sa.text(f"SET LOCAL statement_timeout = '{_BULK_TIMEOUT_SECONDS:.0f}s'"))
            driver = await _driver(connection)
            await driver.copy_from_query(
                _COLUMNS, since, until, output=buffer.feed, format="binary", timeout=_BULK_TIMEOUT_SECONDS
            )
        return buffer.rows()

    async def _connected(self) -> AsyncConnection:
        return await self._reader.connect()

    async def close(self) -> None:
        await uninterrupted(self._close())

    async def _close(self) -> None:
        for name in tuple(self._life):
            await self.release(name)
        await dispose(self._engine, self._timeout)
        await dispose(self._low_latency_engine, self._timeout)
        await self._connector.close()


def _lock_key(name: str) -> sa.ColumnElement[int]:
    return sa.func.hashtextextended(name, 0)


async def _driver(connection: AsyncConnection) -> Any:
    """asyncpg's own connection, for COPY; it is in the transaction because a statement has run in it already."""
    return cast(Any, (await connection.get_raw_connection()).driver_connection)


def _engine(
    url: URL, connector: Connector, pool_size: int, timeout_seconds: float, patience_seconds: float
) -> AsyncEngine:
    limit = f"{int(timeout_seconds * 1_000)}ms"
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        pool_use_lifo=True,  # idle connections may be closed by the server; the ones in use stay warm
        json_serializer=dump_json,
        connect_args={
            "async_creator_fn": connector.connect,
            "timeout": timeout_seconds,
            "command_timeout": timeout_seconds + patience_seconds,
            "server_settings": {
                "application_name": "encore",
                "statement_timeout": limit,
                "lock_timeout": limit,
                "idle_in_transaction_session_timeout": f"{int(timeout_seconds * 2_000)}ms",
                "timezone": "UTC",
                "jit": "off",  # compiling costs more than our statements take
            },
        },
    )
    sa.event.listen(engine.sync_engine, "handle_error", _hang_up)
    trace_statements(engine.sync_engine)
    closes_whole(engine, _close)
    return engine


async def _close(driver: Any) -> None:
    """Politely: the server is told to end the statement."""
    try:
        await driver.close(timeout=_CLOSE_SECONDS)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # TimeoutError is an OSError
        driver.terminate()


def _hang_up(context: sa.engine.ExceptionContext) -> None:
    """After a deadline the connection is cut off at once: closing it politely waits two more seconds for an answer."""
    if isinstance(context.original_exception, TimeoutError) and context.connection is not None:
        driver = context.connection.connection.driver_connection
        if driver is not None:
            driver.terminate()
        context.is_disconnect = True
