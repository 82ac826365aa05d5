"""The way every store reaches the database: a read or a write block, with the driver's errors translated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.audit_scope import change_to_record
from app.domain.exceptions import DatabaseUnavailableError
from app.infrastructure.breaker import Breaker
from app.infrastructure.database.audit_chain import add_row
from app.infrastructure.database.dialects import Dialect, TimeRange
from app.infrastructure.database.driver_errors import translated

_GONE_STATES = ("08", "57P")
"""SQLSTATE classes of a connection that failed, and of a server that shuts down or starts."""


class Connections:
    """The shared pools, behind one breaker: while the database is away nobody waits for it but one probe at a time."""

    def __init__(self, dialect: Dialect, breaker: Breaker | None = None) -> None:
        self.dialect = dialect
        self._breaker = breaker

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """For single statements, each its own transaction."""
        with self._guarded():
            async with self.dialect.read() as connection:
                yield connection

    @asynccontextmanager
    async def low_latency(self) -> AsyncIterator[AsyncConnection]:
        """As `read`, for the small lookups that somebody waits for: within a second."""
        with self._guarded():
            async with self.dialect.low_latency() as connection:
                yield connection

    async def low_latency_rows(
        self, query: sa.Select[Any], parameters: Mapping[str, object]
    ) -> Sequence[Sequence[Any]]:
        """Dialect.low_latency_rows, errors translated."""
        with self._guarded():
            return await self.dialect.low_latency_rows(query, parameters)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end of the block, rolled back on any error.

        It carries the row of the audit log where the task is making a change that has none yet.
        """
        change = change_to_record()
        with self._guarded():
            async with self.dialect.write() as connection:
                yield connection
                if change is not None and not change.is_recorded:
                    await add_row(connection, self.dialect, change.entry())
        if change is not None:
            change.is_recorded = True

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        breaker = self._breaker
        if breaker is not None and not breaker.admits():
            raise DatabaseUnavailableError("the database is not asked while it fails")
        try:
            with translated():
                yield
        except DatabaseUnavailableError as exc:
            if breaker is not None and not _was_answered(exc):
                breaker.failed()
            raise
        if breaker is not None:
            breaker.succeeded()

    async def hold(self, name: str) -> None:
        """Dialect.hold, errors translated."""
        with self._guarded():
            await self.dialect.hold(name)

    async def prepare_months(self, moments: Iterable[datetime]) -> None:
        """Dialect.prepare_months, errors translated."""
        with self._guarded():
            await self.dialect.prepare_months(moments)

    async def read_columns(self, window: TimeRange) -> NDArray[np.void]:
        """Dialect.read_columns, errors translated."""
        with self._guarded():
            return await self.dialect.read_columns(window)


def _was_answered(exc: DatabaseUnavailableError) -> bool:
    """True if the server itself refused (a lock, a deadlock, a full disk): it is there, and others may succeed."""
    cause = exc.__cause__
    state = str(getattr(getattr(cause, "orig", cause), "sqlstate", None) or "")
    return bool(state) and not state.startswith(_GONE_STATES)
