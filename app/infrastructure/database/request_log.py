"""The request log as stored: a row a list, its items as one JSON text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.erasure import Grave
from app.domain.request_log import RequestEntry, RequestLogStore, ShownItem
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.erasure_tables import graves
from app.infrastructure.database.experiment_tables import request_log
from app.infrastructure.database.removing_people import grave_of

_COLUMNS = tuple(column for column in request_log.c if column is not request_log.c.sequence)
_PIECE = 1_000
_decode_items = msgspec.json.Decoder(list[tuple[str, int, float, str, float]]).decode


class SqlRequestLogStore(RequestLogStore):
    """RequestLogStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, entries: Sequence[RequestEntry]) -> None:
        if not entries:
            return
        async with self._connections.write() as connection:
            # No erasure passes between this look and the commit: what is written later finds its grave.
            await self._connections.dialect.keep_users(connection)
            kept = await self._not_void(connection, entries)
            if kept:
                await connection.execute(sa.insert(request_log), [_row(entry) for entry in kept])

    async def _not_void(self, connection: AsyncConnection, entries: Sequence[RequestEntry]) -> Sequence[RequestEntry]:
        """Those that were not shown to somebody who was erased afterwards."""
        people = list({entry.user for entry in entries if entry.user is not None})
        found: list[Grave] = []
        for start in range(0, len(people), _PIECE):
            query = sa.select(graves).where(graves.c.pseudonym.in_(people[start : start + _PIECE]))
            found += [grave_of(row) for row in await connection.execute(query)]
        void = {grave.pseudonym: grave.lists_until for grave in found}
        return [entry for entry in entries if entry.user not in void or entry.at > void[entry.user]]

    async def get(self, request_id: str) -> RequestEntry | None:
        query = sa.select(*_COLUMNS).where(request_log.c.request_id == request_id)
        async with self._connections.read() as connection:
            newest = await connection.execute(query.order_by(request_log.c.sequence.desc()).limit(1))
            row = newest.mappings().one_or_none()
        return None if row is None else _entry(row)

    async def read(
        self, since: datetime, until: datetime, *, experiment_id: str | None = None, batch: int = 2_000
    ) -> AsyncIterator[Sequence[RequestEntry]]:
        query = sa.select(request_log).where(request_log.c.at >= since, request_log.c.at < until)
        if experiment_id is not None:
            query = query.where(request_log.c.experiment_id == experiment_id)
        query, last = query.order_by(request_log.c.sequence).limit(batch), 0
        while True:
            async with self._connections.read() as connection:
                rows = (await connection.execute(query.where(request_log.c.sequence > last))).mappings().all()
            if not rows:
                return
            last = rows[-1]["sequence"]
            yield [_entry(row) for row in rows]

    async def prune(self, before: datetime, limit: int) -> int:
        oldest = (
            sa.select(request_log.c.sequence).where(request_log.c.at < before).order_by(request_log.c.at).limit(limit)
        )
        async with self._connections.write() as connection:
            return (await connection.execute(sa.delete(request_log).where(request_log.c.sequence.in_(oldest)))).rowcount


def _row(entry: RequestEntry) -> dict[str, Any]:
    items = [(item.item_id, item.rank, item.score, item.source, item.propensity) for item in entry.items]
    return {
        **{column.name: getattr(entry, column.name) for column in _COLUMNS if column.name != "items"},
        "items": msgspec.json.encode(items).decode(),
    }


def _entry(row: RowMapping) -> RequestEntry:
    values: dict[str, Any] = {column.name: row[column.name] for column in _COLUMNS}
    items = tuple(ShownItem(*item) for item in _decode_items(values["items"]))
    return RequestEntry(**{**values, "items": items})
