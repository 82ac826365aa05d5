"""The outbox: events written with the truth, published later, in order per key."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.entities import OutboxMessage
from app.domain.queue_stores import OutboxStore
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.deleting import delete_in_pieces
from app.infrastructure.database.insert_once import insert_once
from app.infrastructure.database.tables import outbox

_COLUMNS = tuple(outbox.c[field.name] for field in fields(OutboxMessage))
_WAITS = outbox.c.published_at.is_(None)


async def insert_messages(connection: AsyncConnection, messages: Sequence[OutboxMessage]) -> None:
    """Add messages in the caller's transaction; the database numbers them. One whose id is known stays as it is."""
    rows = [asdict(message) for message in messages]
    for row in rows:
        del row["sequence"]
    if rows:
        await connection.execute(insert_once(connection, outbox), rows)


class SqlOutboxStore(OutboxStore):
    """OutboxStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def claim(self, limit: int, now: datetime, lease_seconds: float) -> Sequence[OutboxMessage]:
        async with self._connections.write() as connection:
            await self._connections.dialect.advisory_lock(
                connection, "outbox"
            )  # see _free: order needs one claim at a time
            free = _free(now).order_by(outbox.c.sequence).limit(limit)
            rows = (await connection.execute(free)).mappings().all()
            mine = outbox.c.sequence.in_([row["sequence"] for row in rows])
            until = now + timedelta(seconds=lease_seconds)
            await connection.execute(sa.update(outbox).where(mine).values(claimed_until=until))
        return [OutboxMessage(**row) for row in rows]

    async def published(self, sequences: Collection[int], now: datetime) -> None:
        gone = sa.update(outbox).where(outbox.c.sequence.in_(sequences), _WAITS).values(published_at=now)
        async with self._connections.write() as connection:
            await connection.execute(gone)

    async def pending(self) -> int:
        async with self._connections.read() as connection:
            return (await connection.execute(sa.select(sa.func.count()).where(_WAITS))).scalar_one()

    async def prune(self, before: datetime) -> int:
        return await delete_in_pieces(self._connections, outbox, outbox.c.sequence, outbox.c.published_at < before)


def _free(now: datetime) -> sa.Select[*tuple[object, ...]]:
    """Waiting, held by nobody, and behind no message of the same topic and key that somebody else holds."""
    held = outbox.alias("held")
    overtakes = sa.exists().where(
        held.c.published_at.is_(None),
        held.c.claimed_until > now,
        held.c.topic == outbox.c.topic,
        held.c.key == outbox.c.key,
        held.c.sequence < outbox.c.sequence,
    )
    is_held = outbox.c.claimed_until.is_not(None) & (outbox.c.claimed_until > now)
    return sa.select(*_COLUMNS).where(_WAITS, ~is_held, ~overtakes)
