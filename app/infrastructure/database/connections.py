"""The way every store reaches the database: a read or a write block, with the driver's errors translated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from app.infrastructure.database.dialects import Dialect, Window
from app.infrastructure.database.errors import translated


class Connections:
    """The shared pool."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """For single statements, each its own transaction."""
        with translated():
            async with self.dialect.read() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end of the block, rolled back on any error."""
        with translated():
            async with self.dialect.write() as connection:
                yield connection

    async def prepare_months(self, moments: Iterable[datetime]) -> None:
        """Dialect.prepare_months, errors translated."""
        with translated():
            await self.dialect.prepare_months(moments)

    async def read_columns(self, window: Window) -> NDArray[np.void]:
        """Dialect.read_columns, errors translated."""
        with translated():
            return await self.dialect.read_columns(window)
