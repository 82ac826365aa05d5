"""Items and users. Newest `updated_at` wins; writing again what is stored already changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.application.offloading import apart
from app.domain.entities import RESERVED_ITEM_IDS, RESERVED_USER_IDS, Item, User
from app.domain.exceptions import InputError
from app.domain.stores import CatalogStore
from app.infrastructure.database import catalog_rows as rows
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.counting import advance
from app.infrastructure.database.tables import event_ids, interactions, pair_states, tombstones, users
from app.infrastructure.database.tables import items as items_table

_REVISION = "catalog"
_PAGED = {"insertmanyvalues_page_size": 100}
"""Rows in one statement: putting a thousand together stops the event loop for tens of milliseconds."""

_ENTRY_BYTES = 1_024
"""About what an entry has: enough of them are made into rows beside the event loop."""

_IS_LISTED = items_table.c.updated_at.is_not(None) & sa.not_(items_table.c.removed)


class SqlCatalogStore(CatalogStore):
    """CatalogStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        insert = connections.dialect.insert
        upsert_items = rows.newest_wins(insert(items_table), items_table, "item_id")
        self._upsert_items = upsert_items.returning(items_table.c.item_id).execution_options(**_PAGED)
        upsert_users = rows.newest_wins(insert(users), users, "user_id")
        self._upsert_users = upsert_users.returning(users.c.user_id).execution_options(**_PAGED)
        self._bury = rows.tombstone_of_a_user(insert(tombstones))

    async def upsert_items(self, items: Sequence[Item]) -> int:
        refuse_reserved_items(items)
        values = await apart(len(items) * _ENTRY_BYTES, _item_rows, items)
        if not values:
            return 0
        async with self._connections.write() as connection:
            return await self._write_items(connection, values)

    async def remove_items(self, item_ids: Collection[str], at: datetime) -> int:
        values = [rows.tombstone_row(item_id, at) for item_id in sorted(set(item_ids))]
        if not values:
            return 0
        listed = sa.select(sa.func.count()).where(items_table.c.item_id.in_(set(item_ids)), _IS_LISTED)
        async with self._connections.write() as connection:
            before = (await connection.execute(listed)).scalar_one()
            await self._write_items(connection, values)
            return int(before - (await connection.execute(listed)).scalar_one())

    async def _write_items(self, connection: AsyncConnection, values: Sequence[dict[str, object]]) -> int:
        first = await advance(connection, self._connections.dialect, _REVISION, len(values))
        numbered = [{**row, "revision": first + place} for place, row in enumerate(values)]
        return len((await connection.execute(self._upsert_items, numbered)).all())

    async def item_times(self, item_ids: Collection[str]) -> Mapping[str, datetime]:
        return await self._times(items_table.c.item_id, items_table.c.updated_at, item_ids)

    async def user_times(self, user_ids: Collection[str]) -> Mapping[str, datetime]:
        return await self._times(users.c.user_id, users.c.updated_at, user_ids)

    async def _times(
        self, name: sa.Column[str], time: sa.Column[datetime], ids: Collection[str]
    ) -> Mapping[str, datetime]:
        query = sa.select(name, time).where(name.in_(ids), time.is_not(None))
        async with self._connections.read() as connection:
            return {row[0]: row[1] for row in await connection.execute(query)}

    async def get_item(self, item_id: str) -> Item | None:
        query = sa.select(*rows.ITEM_COLUMNS).where(items_table.c.item_id == item_id, _IS_LISTED)
        async with self._connections.low_latency() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else rows.item_of(row)

    async def replace_item(self, seen: Item | None, new: Item) -> bool:
        refuse_reserved_items([new])
        query = sa.select(*rows.ITEM_COLUMNS).where(items_table.c.item_id == new.item_id, _IS_LISTED)
        async with self._connections.write() as connection:
            # Every writer of items takes a number first, so that from here on nobody else writes.
            await advance(connection, self._connections.dialect, _REVISION, 1)
            row = (await connection.execute(query)).mappings().one_or_none()
            if (None if row is None else rows.item_of(row)) != seen:
                return False
            await self._write_items(connection, [rows.item_row(new)])
            return True

    async def list_items(self, after: str | None, limit: int, words: str = "") -> Sequence[Item]:
        query = sa.select(*rows.ITEM_COLUMNS).where(_IS_LISTED).order_by(items_table.c.item_id).limit(limit)
        if after is not None:
            query = query.where(items_table.c.item_id > after)
        if words:
            columns = (items_table.c.title, items_table.c.item_id)
            query = query.where(sa.or_(*(column.icontains(words, autoescape=True) for column in columns)))
        async with self._connections.read() as connection:
            return [rows.item_of(row) for row in (await connection.execute(query)).mappings()]

    async def items_since(self, revision: int, limit: int) -> tuple[Sequence[Item], Collection[str], int]:
        query = (
            sa.select(items_table.c.revision, items_table.c.removed, *rows.ITEM_COLUMNS)
            .where(items_table.c.revision > revision)
            .order_by(items_table.c.revision)
            .limit(limit)
        )
        async with self._connections.read() as connection:
            found = (await connection.execute(query)).mappings().all()
        upserted = [rows.item_of(row) for row in found if not row["removed"]]
        removed = {row["item_id"] for row in found if row["removed"]}
        return upserted, removed, found[-1]["revision"] if found else revision

    async def upsert_users(self, users: Sequence[User]) -> int:
        if any(user.user_id in RESERVED_USER_IDS for user in users):
            raise InputError("this user id is reserved", "user_id")
        values = await apart(len(users) * _ENTRY_BYTES, _user_rows, users)
        if not values:
            return 0
        async with self._connections.write() as connection:
            return len((await connection.execute(self._upsert_users, values)).all())

    async def get_user(self, user_id: str) -> User | None:
        query = sa.select(*rows.USER_COLUMNS).where(users.c.user_id == user_id)
        async with self._connections.low_latency() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else User(**row)

    async def remove_user(self, user_id: str, until: datetime) -> bool:
        find = sa.select(users.c.user_key).where(users.c.user_id == user_id)
        async with self._connections.write() as connection:
            await self._connections.dialect.erase_alone(connection)
            key = (await connection.execute(find)).scalar()
            if key is None:
                return False
            await connection.execute(self._bury, {"user_id": user_id, "until": until})
            theirs = sa.select(interactions.c.event_id).where(interactions.c.user_key == key)
            await connection.execute(sa.delete(event_ids).where(event_ids.c.event_id.in_(theirs)))
            for table in (interactions, pair_states, users):
                await connection.execute(sa.delete(table).where(table.c.user_key == key))
        return True

    async def readmit_users(
        self, user_ids: Collection[str], now: datetime, until: Callable[[datetime], datetime]
    ) -> int:
        waiting = sa.select(tombstones).where(tombstones.c.user_id.in_(user_ids), tombstones.c.until >= now)
        async with self._connections.read() as connection:
            found = (await connection.execute(waiting)).all()
        if not found:
            return 0
        changed = 0
        async with self._connections.write() as connection:
            for user_id, stored in sorted(found):
                # Only what was looked at: an erasure that came in between holds.
                same = (tombstones.c.user_id == user_id) & (tombstones.c.until == stored)
                lift = sa.update(tombstones).where(same).values(until=min(until(stored), stored))
                changed += (await connection.execute(lift)).rowcount
        return changed

    async def list_users(self, after: str | None, limit: int) -> Sequence[User]:
        query = sa.select(*rows.USER_COLUMNS).order_by(users.c.user_id).limit(limit)
        if after is not None:
            query = query.where(users.c.user_id > after)
        async with self._connections.read() as connection:
            return [User(**row) for row in (await connection.execute(query)).mappings()]


def refuse_reserved_items(items: Sequence[Item]) -> None:
    """Raise InputError for an item whose id is a word of a route."""
    if any(item.item_id in RESERVED_ITEM_IDS for item in items):
        raise InputError("this item id is reserved", "item_id")


def _item_rows(items: Sequence[Item]) -> list[dict[str, object]]:
    return [rows.item_row(item) for item in rows.newest(items, lambda item: item.item_id)]


def _user_rows(users: Sequence[User]) -> list[dict[str, object]]:
    return [rows.user_row(user) for user in rows.newest(users, lambda user: user.user_id)]
