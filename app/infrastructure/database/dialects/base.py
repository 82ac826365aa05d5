"""What a dialect must offer to the stores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

Insert = sqlite.Insert | postgresql.Insert
"""An INSERT that knows ON CONFLICT; both dialects spell it alike."""

StagedColumns = Mapping[str, Sequence[object]]
"""A batch by the columns of `staged`, in their order, without `sequence`; ids and moments as the driver takes them."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """since ≤ occurred_at < until; None is open."""

    since: datetime | None
    until: datetime | None


RAW_COLUMNS = np.dtype(
    [
        ("user_key", "<i8"),
        ("item_key", "<i8"),
        ("kind", "<i2"),
        ("value", "<f8"),
        ("duration", "<f8"),
        ("micros", "<i8"),
        ("event_id", "S16"),
    ]
)
"""One interaction as it comes from the bulk read: keys inside, NaN where there is no value, µs since 1970."""


class Dialect(Protocol):
    """Connections, and the few statements that are spelt differently. Errors stay the driver's."""

    name: str
    bulk_rows: int
    """How many interactions a batch of an import should hold."""

    @abstractmethod
    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for single statements, each its own transaction."""

    @abstractmethod
    def low_latency(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """As `read`, for the small lookups that somebody waits for: they end within a second, whatever is stuck."""

    @abstractmethod
    async def low_latency_rows(
        self, query: sa.Select[Any], parameters: Mapping[str, object]
    ) -> Sequence[Sequence[Any]]:
        """All rows of one small lookup, by the shortest way there is. Moments come as `decode_moment` takes them."""

    @abstractmethod
    def decode_moment(self, moment: Any) -> datetime:
        """A moment as the driver gives it."""

    @abstractmethod
    def write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection in one write transaction: committed at the end of the block, rolled back on any error."""

    @abstractmethod
    def insert(self, table: sa.Table) -> Insert:
        """INSERT INTO table, with ON CONFLICT at hand."""

    @abstractmethod
    async def advisory_lock(self, connection: AsyncConnection, name: str) -> None:
        """Until the end of this transaction nobody else gets past the same name."""

    @abstractmethod
    async def hold(self, name: str) -> None:
        """Give a sign of life by this name until `release`, or until this process dies; renews one that was lost."""

    @abstractmethod
    async def release(self, name: str) -> None:
        """End the sign of life; nothing happens without one."""

    @abstractmethod
    async def is_held(self, connection: AsyncConnection, name: str) -> bool:
        """Does any living process give this sign of life? Asked inside a transaction."""

    @abstractmethod
    async def prepare_months(self, moments: Iterable[datetime]) -> None:
        """Before an ingest: make sure that rows of these moments have a partition to go to."""

    @abstractmethod
    async def misplaced(self, connection: AsyncConnection) -> int:
        """Rows that went to no month's partition."""

    @abstractmethod
    def encode_id(self, event_id: UUID) -> UUID | bytes:
        """An event id as the driver takes it."""

    @abstractmethod
    def encode_moment(self, moment: datetime) -> datetime | int:
        """A moment as the driver takes it."""

    @abstractmethod
    def encode_ids(self, event_ids: Sequence[bytes]) -> Sequence[UUID | bytes]:
        """Event ids of 16 bytes as the driver takes them."""

    @abstractmethod
    def encode_micros(self, micros: Sequence[int]) -> Sequence[datetime | int]:
        """Moments in µs since 1970 as the driver takes them."""

    @abstractmethod
    async def stage(self, connection: AsyncConnection, columns: StagedColumns) -> None:
        """Put a batch into the empty table `staged` with a rising, never used `sequence` for each row."""

    @abstractmethod
    def digest(self, text: sa.ColumnElement[str]) -> sa.ColumnElement[bytes]:
        """SHA-256 of a text in UTF-8, as `app.domain.erasure.digest_of` computes it."""

    @abstractmethod
    def holds(self, data: sa.ColumnElement[bytes], part: bytes) -> sa.ColumnElement[bool]:
        """True where these bytes are part of `data`."""

    @abstractmethod
    async def keep_users(self, connection: AsyncConnection) -> None:
        """Until the end of this transaction nobody is erased; its next statement sees who was before."""

    @abstractmethod
    async def erase_alone(self, connection: AsyncConnection) -> None:
        """Wait for those that keep users; until the end of this transaction nobody new does."""

    @abstractmethod
    async def settled_sequence(self, connection: AsyncConnection) -> int:
        """Every sequence up to here is committed or never will be: no row can still appear below it."""

    @abstractmethod
    async def read_columns(self, window: TimeRange) -> NDArray[np.void]:
        """All interactions of a window, dtype RAW_COLUMNS, in any order."""

    @abstractmethod
    async def close(self) -> None:
        """Release every connection."""
