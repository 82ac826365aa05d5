"""Dead letters: what could not be taken in, kept for a human."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.entities import DeadLetter
from app.domain.queue_stores import DeadLetterStore
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.deleting import delete_in_pieces
from app.infrastructure.database.erased_names import spared
from app.infrastructure.database.insert_once import insert_once
from app.infrastructure.database.tables import dead_letters

_SIZE = sa.func.length(dead_letters.c.payload)


async def insert_letters(connection: AsyncConnection, letters: Sequence[DeadLetter]) -> None:
    """Add letters in the caller's transaction; the database numbers them.

    A record of a log that is read again leaves no second letter: its place and its bytes are known.
    """
    rows = [asdict(letter) for letter in letters]
    for row in rows:
        del row["dead_letter_id"]
    if rows:
        await connection.execute(insert_once(connection, dead_letters), rows)


class SqlDeadLetterStore(DeadLetterStore):
    """DeadLetterStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        async with self._connections.write() as connection:
            kept, _messages = await spared(connection, self._connections.dialect, letters)
            await insert_letters(connection, kept)

    async def list(self, limit: int, after: int = 0, reason: str | None = None) -> Sequence[DeadLetter]:
        query = sa.select(dead_letters).where(dead_letters.c.dead_letter_id > after)
        if reason is not None:
            query = query.where(dead_letters.c.reason == reason)
        async with self._connections.read() as connection:
            rows = await connection.execute(query.order_by(dead_letters.c.dead_letter_id).limit(limit))
            return [DeadLetter(**row) for row in rows.mappings()]

    async def get(self, dead_letter_id: int) -> DeadLetter | None:
        query = sa.select(dead_letters).where(dead_letters.c.dead_letter_id == dead_letter_id)
        async with self._connections.read() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else DeadLetter(**row)

    async def mark_replayed(self, ids: Collection[int], at: datetime) -> None:
        mark = sa.update(dead_letters).where(dead_letters.c.dead_letter_id.in_(ids)).values(replayed_at=at)
        async with self._connections.write() as connection:
            await connection.execute(mark)

    async def count(self) -> int:
        query = sa.select(sa.func.count()).where(dead_letters.c.replayed_at.is_(None)).select_from(dead_letters)
        async with self._connections.read() as connection:
            return (await connection.execute(query)).scalar_one()

    async def held(self) -> tuple[int, int]:
        query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(_SIZE), 0)).select_from(dead_letters)
        async with self._connections.read() as connection:
            rows, size = (await connection.execute(query)).one()
            return rows, int(size)

    async def prune(self, before: datetime) -> int:
        return await delete_in_pieces(
            self._connections, dead_letters, dead_letters.c.dead_letter_id, dead_letters.c.received_at < before
        )

    async def keep_newest(self, max_rows: int, max_bytes: int) -> int:
        newest_first = dead_letters.c.dead_letter_id.desc()
        counted = sa.select(
            dead_letters.c.dead_letter_id,
            sa.func.row_number().over(order_by=newest_first).label("place"),
            sa.func.sum(_SIZE).over(order_by=newest_first, rows=(None, 0)).label("size"),
        ).subquery()
        beyond = (counted.c.place > max_rows) | (counted.c.size > max_bytes)
        last = sa.select(sa.func.max(counted.c.dead_letter_id)).where(beyond)
        async with self._connections.read() as connection:
            newest_to_go = (await connection.execute(last)).scalar()
        if newest_to_go is None:
            return 0
        which = dead_letters.c.dead_letter_id <= newest_to_go
        return await delete_in_pieces(self._connections, dead_letters, dead_letters.c.dead_letter_id, which)
