"""Interactions: history in, pair states out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from app.domain.entities import KINDS, EventColumns, IngestResult, Interaction, Kind, PairState, SourceOffset
from app.domain.stores import IngestBatch, InteractionStore
from app.infrastructure.database.bulk_read import assemble
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.dialects import TimeRange
from app.infrastructure.database.ingest import Ingest
from app.infrastructure.database.tables import consumer_offsets, interactions, items, pair_states, users
from app.infrastructure.database.tables import event_ids as known_events

_HISTORY = (
    sa.select(
        items.c.item_id,
        pair_states.c.kind,
        pair_states.c.value,
        pair_states.c.duration,
        pair_states.c.peak,
        pair_states.c.count,
        pair_states.c.occurred_at,
    )
    .join_from(users, pair_states, pair_states.c.user_key == users.c.user_key)
    .join(items, items.c.item_key == pair_states.c.item_key)
    .where(users.c.user_id == sa.bindparam("user_id"))
    .order_by(pair_states.c.occurred_at.desc(), pair_states.c.event_id.desc())
    .limit(sa.bindparam("limit"))
)
_EXPORT = (
    sa.select(
        interactions.c.event_id,
        users.c.user_id,
        items.c.item_id,
        interactions.c.kind,
        interactions.c.occurred_at,
        interactions.c.value,
        interactions.c.duration,
        interactions.c.device,
        interactions.c.sequence,
    )
    .join_from(interactions, users, users.c.user_key == interactions.c.user_key)
    .join(items, items.c.item_key == interactions.c.item_key)
    .where(interactions.c.sequence > sa.bindparam("after"))
    .order_by(interactions.c.sequence)
    .limit(sa.bindparam("limit"))
)
_DISLIKE, _RATING, _WATCHLIST = (KINDS.index(kind) for kind in (Kind.DISLIKE, Kind.RATING, Kind.WATCHLIST))
_NEUTRAL = 2.0
"""The rating that says neither yes nor no, as in app/domain/signals.py."""

_SPEAKS_FOR = sa.case(
    (pair_states.c.kind == _DISLIKE, 0),
    (pair_states.c.kind == _RATING, sa.case((sa.func.coalesce(pair_states.c.value, 5.0) > _NEUTRAL, 1), else_=0)),
    (pair_states.c.kind == _WATCHLIST, sa.case((sa.func.coalesce(pair_states.c.value, 1.0) > 0.0, 1), else_=0)),
    else_=sa.case((pair_states.c.peak > 0.0, 1), else_=0),
)
_SPEAKS_AGAINST = sa.case(
    (pair_states.c.kind == _DISLIKE, 1),
    (sa.and_(pair_states.c.kind == _RATING, pair_states.c.value < _NEUTRAL), 1),
    else_=0,
)
_OPINIONS = (
    sa.select(
        pair_states.c.item_key,
        pair_states.c.user_key,
        sa.func.max(_SPEAKS_FOR).label("speaks_for"),
        sa.func.max(_SPEAKS_AGAINST).label("speaks_against"),
    )
    .where(pair_states.c.occurred_at >= sa.bindparam("since", type_=pair_states.c.occurred_at.type))
    .group_by(pair_states.c.item_key, pair_states.c.user_key)
    .subquery()
)
_POPULAR = (
    sa.select(items.c.item_id, sa.func.count().label("popularity"))
    .join_from(_OPINIONS, items, items.c.item_key == _OPINIONS.c.item_key)
    .where(_OPINIONS.c.speaks_for == 1, _OPINIONS.c.speaks_against == 0)
    .group_by(items.c.item_id)
    .order_by(sa.desc("popularity"), items.c.item_id)
    .limit(sa.bindparam("limit"))
)
_KNOWN_IDS = (
    sa.select(known_events.c.event_id)
    .join_from(
        known_events,
        interactions,
        (known_events.c.sequence == interactions.c.sequence)
        & (known_events.c.occurred_at == interactions.c.occurred_at),
    )
    .join(users, users.c.user_key == interactions.c.user_key)
)
_INSERTED = (
    sa.select(interactions.c.sequence, interactions.c.user_key)
    .where(interactions.c.sequence > sa.bindparam("after"), interactions.c.sequence <= sa.bindparam("settled"))
    .order_by(interactions.c.sequence)
    .limit(sa.bindparam("limit"))
    .subquery()
)
_USERS_SINCE = (
    sa.select(users.c.user_id, sa.func.max(_INSERTED.c.sequence))
    .join_from(_INSERTED, users, users.c.user_key == _INSERTED.c.user_key)
    .group_by(users.c.user_id)
)


class SqlInteractionStore(InteractionStore):
    """InteractionStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._ingest = Ingest(connections)
        self.bulk_rows = connections.dialect.bulk_rows

    async def ingest(self, batch: IngestBatch) -> IngestResult:
        return await self._ingest.run(batch)

    async def known_ids(self, user_id: str, event_ids: Collection[UUID]) -> Collection[UUID]:
        query = _KNOWN_IDS.where(users.c.user_id == user_id, known_events.c.event_id.in_(event_ids))
        async with self._connections.read() as connection:
            return set((await connection.execute(query)).scalars())

    async def history(self, user_id: str, limit: int) -> Sequence[PairState]:
        rows = await self._connections.low_latency_rows(_HISTORY, {"user_id": user_id, "limit": limit})
        decode = self._connections.dialect.decode_moment
        return [
            PairState(item_id, KINDS[kind], value, duration, peak, count, decode(moment))
            for item_id, kind, value, duration, peak, count, moment in rows
        ]

    async def columns(self, since: datetime | None, until: datetime | None) -> EventColumns:
        raw = await self._connections.read_columns(TimeRange(since, until))
        async with self._connections.read() as connection:
            user_ids = (await connection.execute(sa.select(users.c.user_key, users.c.user_id))).all()
            item_ids = (await connection.execute(sa.select(items.c.item_key, items.c.item_id))).all()
        return await assemble(raw, dict(user_ids), dict(item_ids))

    async def export(self, batch_size: int = 5_000) -> AsyncIterator[Sequence[Interaction]]:
        after = 0
        while True:
            async with self._connections.read() as connection:
                rows = (await connection.execute(_EXPORT, {"after": after, "limit": batch_size})).all()
            if not rows:
                return
            yield [Interaction(*row[:3], KINDS[row[3]], *row[4:8]) for row in rows]
            after = rows[-1].sequence

    async def users_since(self, sequence: int, limit: int) -> tuple[Collection[str], int]:
        async with self._connections.read() as connection:
            settled = await self._connections.dialect.settled_sequence(connection)
            if sequence < 0:
                return set(), settled
            window = {"after": sequence, "settled": settled, "limit": limit}
            rows = (await connection.execute(_USERS_SINCE, window)).all()
        return {user_id for user_id, _ in rows}, max((newest for _, newest in rows), default=sequence)

    async def offsets(self, topic: str) -> Sequence[SourceOffset]:
        query = sa.select(consumer_offsets).where(consumer_offsets.c.topic == topic)
        async with self._connections.read() as connection:
            rows = await connection.execute(query.order_by(consumer_offsets.c.partition))
            return [SourceOffset(**row) for row in rows.mappings()]

    async def count(self) -> int:
        async with self._connections.read() as connection:
            return (await connection.execute(sa.select(sa.func.count()).select_from(interactions))).scalar_one()

    async def misplaced(self) -> int:
        async with self._connections.read() as connection:
            return await self._connections.dialect.misplaced(connection)

    async def popular(self, since: datetime, limit: int) -> Sequence[tuple[str, float]]:
        async with self._connections.read() as connection:
            rows = await connection.execute(_POPULAR, {"since": since, "limit": limit})
            return [(item_id, float(popularity)) for item_id, popularity in rows]
