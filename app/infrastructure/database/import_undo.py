"""Taking an import back: its interactions go, user by user, and what was derived from them is worked out again.

User by user, because the other interactions of a pair are found by the index on the user: so each history is read once,
however many batches the import had.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.exceptions import ConflictError
from app.domain.import_store import ImportState, RemovedRows
from app.infrastructure.database import staging
from app.infrastructure.database.columns import EPOCH, UtcDateTime, Uuid16
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.ingest_sql import build, slot_of, strength_of
from app.infrastructure.database.staging import resolved
from app.infrastructure.database.tables import (
    event_ids,
    import_ranges,
    imports,
    interactions,
    items,
    pair_states,
    users,
)

USERS_A_STEP = 200
ROWS_A_STEP = 5_000
_PAIRS_A_LOOK = 50_000

_temporary = sa.MetaData()
_undone = sa.Table(
    "undone",
    _temporary,
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("occurred_at", UtcDateTime, nullable=False),
    sa.Column("event_id", Uuid16, nullable=False),
    sa.Column("user_key", sa.BigInteger, nullable=False),
    sa.Column("item_key", sa.BigInteger, nullable=False),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)
_CLEAR: tuple[sa.Executable, ...] = (
    *staging.CREATE,
    sa.schema.CreateTable(_undone, if_not_exists=True),
    *staging.EMPTY,
    sa.delete(_undone),
)

_KEYS: sa.BindParameter[Any] = sa.bindparam("keys", expanding=True)
_IMPORT: sa.BindParameter[str] = sa.bindparam("import_id")


def _is_of_import() -> sa.ColumnElement[bool]:
    """Whether the interaction lies in a range of the import: the last one that begins at or before it."""
    below = import_ranges.alias("below")
    begin = (
        sa.select(sa.func.max(below.c.first_sequence))
        .where(below.c.import_id == _IMPORT, below.c.first_sequence <= interactions.c.sequence)
        .correlate(interactions)
        .scalar_subquery()
    )
    return sa.exists().where(
        import_ranges.c.import_id == _IMPORT,
        import_ranges.c.first_sequence == begin,
        import_ranges.c.last_sequence >= interactions.c.sequence,
    )


def _is_touched(table: sa.Table) -> sa.ColumnElement[bool]:
    """Whether the row is of a (user, item) that loses an interaction."""
    pair = (_undone.c.user_key == table.c.user_key) & (_undone.c.item_key == table.c.item_key)
    return table.c.user_key.in_(_KEYS) & sa.exists().where(pair)


_CHOOSE = sa.insert(_undone).from_select(
    [column.name for column in _undone.c],
    sa.select(*(interactions.c[column.name] for column in _undone.c))
    .where(interactions.c.user_key.in_(_KEYS), _is_of_import())
    .order_by(interactions.c.sequence)
    .limit(ROWS_A_STEP),
)
_FREE_IDS = sa.delete(event_ids).where(event_ids.c.event_id.in_(sa.select(_undone.c.event_id)))
_REMOVE = sa.delete(interactions).where(
    interactions.c.user_key.in_(_KEYS), interactions.c.sequence.in_(sa.select(_undone.c.sequence))
)
_FORGET_STATES = sa.delete(pair_states).where(_is_touched(pair_states))
_SAME = ("sequence", "user_key", "item_key", "kind", "occurred_at", "event_id", "value", "duration", "device")
_GATHER = sa.insert(resolved).from_select(
    [*_SAME, "slot", "strength", "is_alone", "user_id", "item_id"],
    sa.select(
        *(interactions.c[name] for name in _SAME),
        slot_of(interactions),
        strength_of(interactions),
        sa.false(),
        sa.literal("", sa.Text),
        sa.literal("", sa.Text),
    ).where(_is_touched(interactions)),
)
_NAMES = sa.select(users.c.user_id).where(users.c.user_key.in_(sa.select(_undone.c.user_key)))
_FORGET_USERS = sa.delete(users).where(  # nobody but interactions had named them
    users.c.user_key.in_(_KEYS),
    users.c.updated_at == EPOCH,
    users.c.fingerprint == "",
    ~sa.exists().where(interactions.c.user_key == users.c.user_key),
)
_HAS_NO_DATA = items.c.updated_at.is_(None) & sa.not_(items.c.removed)
_BARE_ITEMS = sa.select(items.c.item_key).where(_HAS_NO_DATA)
_LAST_OF_LOOK = (
    sa.select(pair_states.c.user_key)
    .where(pair_states.c.user_key > sa.bindparam("after"))
    .order_by(pair_states.c.user_key)
    .offset(_PAIRS_A_LOOK)
    .limit(1)
)
_NAMED = (
    sa.select(pair_states.c.item_key)
    .where(pair_states.c.user_key > sa.bindparam("after"), pair_states.c.user_key <= sa.bindparam("last"))
    .distinct()
)
_FORGET_ITEMS = sa.delete(items).where(
    items.c.item_key.in_(_KEYS),
    _HAS_NO_DATA,
    items.c.item_key.not_in(
        sa.select(interactions.c.item_key).where(interactions.c.sequence > sa.bindparam("settled"))
    ),
)
_HIGHEST = 2**63 - 1


class ImportUndo:
    """The undo of one import."""

    def __init__(self, connections: Connections, import_id: str) -> None:
        self._connections = connections
        self._import_id = import_id
        self._merge = build(connections.dialect).merge_all

    async def run(self, at: datetime) -> AsyncIterator[RemovedRows]:
        """See ImportStore.undo."""
        await self._begin()
        keys = await self._users()
        for start in range(0, len(keys), USERS_A_STEP):
            some: list[int] = keys[start : start + USERS_A_STEP].tolist()
            while True:
                removed = await self._step(some)
                if removed.rows:
                    yield removed
                if removed.rows < ROWS_A_STEP:
                    break
        await self._forget_items()
        await self._end(at)

    async def _begin(self) -> None:
        """From here on no batch of the import is taken in any more (imports.note_batch)."""
        open_to_it = (imports.c.import_id == self._import_id) & (imports.c.state != ImportState.UNDONE)
        async with self._connections.write() as connection:
            marked = await connection.execute(sa.update(imports).where(open_to_it).values(state=ImportState.UNDOING))
        if not marked.rowcount:
            raise ConflictError("this import has been undone already")

    async def _end(self, at: datetime) -> None:
        mine = (imports.c.import_id == self._import_id) & (imports.c.state == ImportState.UNDOING)
        ranges = sa.delete(import_ranges).where(import_ranges.c.import_id == self._import_id)
        async with self._connections.write() as connection:
            await connection.execute(sa.update(imports).where(mine).values(state=ImportState.UNDONE, undone_at=at))
            await connection.execute(ranges)

    async def _users(self) -> NDArray[np.int64]:
        """The keys of all users with interactions of the import, ascending."""
        mine = import_ranges.c.import_id == self._import_id
        found = np.empty(0, np.int64)
        async with self._connections.read() as connection:
            ranges = (await connection.execute(sa.select(*list(import_ranges.c)[1:]).where(mine))).all()
            for first, last in ranges:
                query = sa.select(interactions.c.user_key).where(interactions.c.sequence.between(first, last))
                keys = (await connection.execute(query.distinct())).scalars().all()
                found = np.union1d(found, np.array(keys, np.int64))
        return found

    async def _step(self, keys: Sequence[int]) -> RemovedRows:
        """One transaction. Nobody writes beside it, as while a user is erased: what is left cannot change under it."""
        async with self._connections.write() as connection:
            await self._connections.dialect.erase_alone(connection)
            for statement in _CLEAR:
                await connection.execute(statement)
            mine = {"keys": keys, "import_id": self._import_id}
            rows = (await connection.execute(_CHOOSE, mine)).rowcount
            names = (await connection.execute(_NAMES)).scalars().all()
            if rows:
                await self._work_out_again(connection, keys)
        return RemovedRows(rows, names)

    async def _work_out_again(self, connection: AsyncConnection, keys: Sequence[int]) -> None:
        await connection.execute(_FREE_IDS)
        await connection.execute(_REMOVE, {"keys": keys})
        await connection.execute(_FORGET_STATES, {"keys": keys})
        await connection.execute(_GATHER, {"keys": keys})
        await connection.execute(self._merge)
        await connection.execute(_FORGET_USERS, {"keys": keys})

    async def _forget_items(self) -> None:
        """Items without data that no interaction names any more.

        States are looked through before the lock, in parts; within it only what was written since is looked at.
        """
        async with self._connections.read() as connection:
            bare = np.array((await connection.execute(_BARE_ITEMS)).scalars().all(), np.int64)
            settled = await self._connections.dialect.settled_sequence(connection)
            after = -1
            while len(bare) and after < _HIGHEST:
                last = (await connection.execute(_LAST_OF_LOOK, {"after": after})).scalar() or _HIGHEST
                named = (await connection.execute(_NAMED, {"after": after, "last": last})).scalars().all()
                bare = np.setdiff1d(bare, np.array(named, np.int64))
                after = last
        for start in range(0, len(bare), ROWS_A_STEP):
            some = {"keys": bare[start : start + ROWS_A_STEP].tolist(), "settled": settled}
            async with self._connections.write() as connection:
                await self._connections.dialect.erase_alone(connection)
                await connection.execute(_FORGET_ITEMS, some)
