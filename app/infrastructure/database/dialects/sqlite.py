"""SQLite: one file, many readers beside one writer (WAL).

`synchronous=NORMAL`: a commit is in the operating system's hands before it is acknowledged, so kill -9 of the process
loses nothing; a power cut may lose the last commits, never damage the file (https://www.sqlite.org/wal.html).
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID
from weakref import WeakSet

import aiosqlite
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.infrastructure.database import staging
from app.infrastructure.database.columns import EPOCH, micros
from app.infrastructure.database.counting import advance
from app.infrastructure.database.dialects.base import RAW_COLUMNS, Dialect, Insert, StagedColumns, TimeRange
from app.infrastructure.database.dialects.leases import closes_whole, dispose, leased
from app.infrastructure.database.dialects.liveness_locks import FileLivenessLocks
from app.infrastructure.database.dialects.low_latency_reader import LowLatencyReader
from app.infrastructure.database.dialects.sqlite_staging import staging_inserts
from app.infrastructure.database.json_text import dump_json
from app.infrastructure.database.statement_spans import statement_span, trace_statements
from app.infrastructure.database.tables import SCHEMAS, counters
from app.infrastructure.private_files import close_to_others, make_private_file
from app.infrastructure.uninterrupted import BlockingCalls, uninterrupted

_SEQUENCE = "interactions"
_WRITE_WAIT_SECONDS = 0.005  # SQLite's own waiting backs off to 100 ms and starves beside a bulk import: wait ourselves
_NO_SCHEMAS: dict[str | None, str | None] = dict.fromkeys(SCHEMAS)
_COLUMNS = (
    "SELECT user_key, item_key, kind, ifnull(value, 9e999), ifnull(duration, 9e999), occurred_at, event_id"
    " FROM interactions WHERE occurred_at >= ? AND occurred_at < ?"
)
_STEPS = 100_000
"""Of SQLite's machine, between two looks at whether a bulk read is still wanted: about a millisecond."""

_MIN_MICROS, _MAX_MICROS = -(2**63), 2**63 - 1


class SqliteDialect(Dialect):
    """Two engines on one file: the readers never wait, the writer is one connection with a thread of its own."""

    name = "sqlite"
    bulk_rows = 20_000  # a commit writes whole pages, so more rows share them; 50,000 take a million rows above 400 MB

    def __init__(self, url: URL, *, pool_size: int, timeout_seconds: float) -> None:
        assert url.database is not None, "the opener refuses databases in memory"
        self._path = url.database
        self._timeout = timeout_seconds
        self._life = FileLivenessLocks(url.database)
        self._reader = _engine(url, pool_size, timeout_seconds, busy_timeout_seconds=timeout_seconds)
        self._low_latency = LowLatencyReader(
            self._path, threads=max(pool_size // 2, 1), timeout_seconds=timeout_seconds
        )
        self._bulk = BlockingCalls(2, "bulk-read")
        self._is_closing = threading.Event()
        self._writer = _engine(url, 1, timeout_seconds, busy_timeout_seconds=_WRITE_WAIT_SECONDS)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        async with leased(self._reader) as connection:
            yield connection

    @asynccontextmanager
    async def low_latency(self) -> AsyncIterator[AsyncConnection]:
        async with leased(self._reader) as connection:
            yield connection

    async def low_latency_rows(
        self, query: sa.Select[Any], parameters: Mapping[str, object]
    ) -> Sequence[Sequence[Any]]:
        sql, constants = _text_of(query)
        with statement_span(self.name, sql):
            return await self._low_latency.rows(sql, {**constants, **parameters})

    def decode_moment(self, moment: int) -> datetime:
        return EPOCH + timedelta(microseconds=moment)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        async with leased(self._writer) as connection:
            await self._begin(connection)
            try:
                yield connection
            except BaseException:
                await uninterrupted(connection.rollback())
                raise
            await connection.commit()

    async def _begin(self, connection: AsyncConnection) -> None:
        """Take the write lock at once: a transaction that starts as a reader cannot become the writer later."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
            except OperationalError as exc:
                if not _is_busy(exc) or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(random.uniform(0, _WRITE_WAIT_SECONDS))  # noqa: S311 - spreads writers, no secret
            else:
                return

    def insert(self, table: sa.Table) -> Insert:
        return sqlite.insert(table)

    async def advisory_lock(self, connection: AsyncConnection, name: str) -> None:
        """There is one writer at a time already."""

    async def hold(self, name: str) -> None:
        self._life.hold(name)

    async def release(self, name: str) -> None:
        self._life.release(name)

    async def is_held(self, connection: AsyncConnection, name: str) -> bool:
        return self._life.is_held(name)

    async def prepare_months(self, moments: Iterable[datetime]) -> None:
        """No partitions here."""

    async def misplaced(self, connection: AsyncConnection) -> int:
        return 0

    def encode_id(self, event_id: UUID) -> bytes:
        return event_id.bytes

    def encode_moment(self, moment: datetime) -> int:
        return micros(moment)

    def encode_ids(self, event_ids: Sequence[bytes]) -> Sequence[bytes]:
        return event_ids

    def encode_micros(self, micros: Sequence[int]) -> Sequence[int]:
        return micros

    async def stage(self, connection: AsyncConnection, columns: StagedColumns) -> None:
        for statement in (*staging.CREATE, *staging.EMPTY):
            await connection.execute(statement)
        first = await advance(connection, self, _SEQUENCE, len(columns["position"]))
        for insert, values in staging_inserts(columns, first):
            await connection.exec_driver_sql(insert, values)

    async def keep_users(self, connection: AsyncConnection) -> None:
        """Nobody else can write."""

    async def erase_alone(self, connection: AsyncConnection) -> None:
        """Nobody else can write."""

    async def settled_sequence(self, connection: AsyncConnection) -> int:
        query = sa.select(counters.c.value).where(counters.c.name == _SEQUENCE)
        return (await connection.execute(query)).scalar() or 0

    async def read_columns(self, window: TimeRange) -> NDArray[np.void]:
        return await self._bulk.run(self._read_columns, window)

    def _read_columns(self, window: TimeRange) -> NDArray[np.void]:
        since = _MIN_MICROS if window.since is None else micros(window.since)
        until = _MAX_MICROS if window.until is None else micros(window.until)
        uri = f"{Path(self._path).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=self._timeout)) as connection:
            connection.set_progress_handler(self._is_closing.is_set, _STEPS)
            rows = np.fromiter(connection.execute(_COLUMNS, (since, until)), dtype=RAW_COLUMNS)
        for name in ("value", "duration"):  # SQLite has no NaN: infinity stood for NULL on the way
            rows[name][np.isinf(rows[name])] = np.nan
        return rows

    async def close(self) -> None:
        await uninterrupted(self._close())

    async def _close(self) -> None:
        self._is_closing.set()
        self._life.close()
        await self._low_latency.close()
        await self._bulk.close(self._timeout)
        await dispose(self._reader, self._timeout)
        await dispose(self._writer, self._timeout)


@lru_cache(maxsize=32)
def _text_of(query: sa.Select[Any]) -> tuple[str, Mapping[str, object]]:
    """(SQL, what it says by itself) of a query that lives as long as the module it is in."""
    dialect = sqlite.dialect(paramstyle="named")
    dialect.default_schema_name = "main"  # what tables without a schema are written with
    compiled = query.compile(dialect=dialect, schema_translate_map=_NO_SCHEMAS, render_schema_translate=True)
    return str(compiled), compiled.params


def _engine(url: URL, pool_size: int, timeout_seconds: float, *, busy_timeout_seconds: float) -> AsyncEngine:
    engine = create_async_engine(
        url,
        isolation_level="AUTOCOMMIT",  # the driver starts no transaction of its own; `write` says BEGIN IMMEDIATE
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        json_serializer=dump_json,
        connect_args={"factory": _Connection},
        execution_options={"schema_translate_map": _NO_SCHEMAS},
    )
    sa.event.listen(engine.sync_engine, "do_connect", _closed_to_others(url))
    sa.event.listen(engine.sync_engine, "connect", _pragmas(busy_timeout_seconds))
    trace_statements(engine.sync_engine)
    closes_whole(engine, aiosqlite.Connection.close)
    return engine


def _closed_to_others(url: URL) -> Callable[..., None]:
    """Before a connection makes the file: SQLite gives the log and its index the rights that the file has."""
    path = Path(str(url.database))

    def close(*_: object) -> None:
        if path.parent.is_dir():
            make_private_file(path)
            for suffix in ("-wal", "-shm"):
                close_to_others(path.with_name(path.name + suffix))

    return close


class _Connection(sqlite3.Connection):
    """Closed for good by `close`: SQLite waits for the cursors, and whoever keeps the error of a cancelled statement
    keeps its cursor; until then the file stays open, and locked (https://www.sqlite.org/c3ref/close.html).
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        cursor = super().cursor(*arguments, **options)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        for cursor in self._cursors:
            cursor.close()
        super().close()


def _pragmas(busy_timeout_seconds: float) -> Callable[[DBAPIConnection, object], None]:
    statements = (
        f"PRAGMA busy_timeout = {int(busy_timeout_seconds * 1_000)}",
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = NORMAL",
        "PRAGMA foreign_keys = ON",
        "PRAGMA temp_store = MEMORY",
        "PRAGMA cache_size = -65536",  # KiB
        "PRAGMA wal_autocheckpoint = 4000",  # pages: a bulk import rewrites the same ones over and over
    )

    def apply(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()

    return apply


def _is_busy(exc: OperationalError) -> bool:
    return isinstance(exc.orig, sqlite3.OperationalError) and exc.orig.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
