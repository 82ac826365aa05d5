"""Numbers that are never given out twice: catalog revisions, fencing tokens, versions, sequences."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.infrastructure.database.dialects.base import Dialect
from app.infrastructure.database.tables import counters


async def advance(connection: AsyncConnection, dialect: Dialect, name: str, by: int = 1) -> int:
    """Take `by` numbers; returns the first of them (the first ever is 1).

    The counter's row stays locked until the transaction ends, so numbers become visible in their own order.
    """
    insert = dialect.insert(counters).values(name=name, value=by)
    statement = insert.on_conflict_do_update(
        index_elements=[counters.c.name], set_={"value": counters.c.value + insert.excluded.value}
    ).returning(counters.c.value)
    last: int = (await connection.execute(statement)).scalar_one()
    return last - by + 1


async def latest(connection: AsyncConnection, name: str) -> int:
    """The last number given out; 0 if none was."""
    found = (await connection.execute(sa.select(counters.c.value).where(counters.c.name == name))).scalar()
    return found or 0
