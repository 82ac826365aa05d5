"""Taking people out of the tables: the statements of one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.erasure import Finding, Grave, Person
from app.infrastructure.database.dialects import Dialect
from app.infrastructure.database.erasure_tables import graves
from app.infrastructure.database.experiment_tables import request_log
from app.infrastructure.database.tables import event_ids, interactions, pair_states, users


async def remove_rows(
    connection: AsyncConnection, dialect: Dialect, people: Sequence[Person], at: datetime, until: datetime
) -> Mapping[str, Finding]:
    """Bury these people and remove what there is of them. Nobody takes in events meanwhile, so nothing can slip in.

    A row's user key is never given out twice: looking again by key finds what was left, and not who came back.
    """
    await dialect.erase_alone(connection)
    await write_graves(connection, dialect, [Grave(one.digest, one.pseudonym, at, until) for one in people])
    ids, pseudonyms = [one.user_id for one in people], [one.pseudonym for one in people]
    found = await connection.execute(sa.select(users.c.user_key).where(users.c.user_id.in_(ids)))
    keys = list(found.scalars())
    theirs = sa.select(interactions.c.event_id).where(interactions.c.user_key.in_(keys))
    # Identities first: which they are is known by the interactions.
    wanted: list[tuple[sa.Table, sa.ColumnElement[bool]]] = [
        (event_ids, event_ids.c.event_id.in_(theirs)),
        (interactions, interactions.c.user_key.in_(keys)),
        (pair_states, pair_states.c.user_key.in_(keys)),
        (users, users.c.user_key.in_(keys) | users.c.user_id.in_(ids)),
        (request_log, request_log.c.user.in_(pseudonyms)),
    ]
    return {table.name: await _removed(connection, table, which) for table, which in wanted}


async def _removed(connection: AsyncConnection, table: sa.Table, which: sa.ColumnElement[bool]) -> Finding:
    count = sa.select(sa.func.count()).select_from(table).where(which)
    found = (await connection.execute(count)).scalar_one()
    removed = (await connection.execute(sa.delete(table).where(which))).rowcount if found else 0
    return Finding(found, removed, (await connection.execute(count)).scalar_one())


async def write_graves(connection: AsyncConnection, dialect: Dialect, rows: Sequence[Grave]) -> None:
    """Of two graves of one person the later moments hold."""
    insert: Any = dialect.insert(graves)
    stored, given = graves.c, insert.excluded
    later = {
        name: sa.case((given[name] > stored[name], given[name]), else_=stored[name]) for name in ("erased_at", "until")
    }
    pseudonym = sa.func.coalesce(given.pseudonym, stored.pseudonym)
    upsert = insert.on_conflict_do_update(index_elements=["digest"], set_={**later, "pseudonym": pseudonym})
    values = [
        {"digest": one.digest, "pseudonym": one.pseudonym, "erased_at": one.erased_at, "until": one.until}
        for one in sorted(rows, key=lambda one: one.digest)
    ]
    if values:
        await connection.execute(upsert, values)


def grave_of(row: sa.Row[Any]) -> Grave:
    """A grave as stored."""
    return Grave(row.digest, row.pseudonym, row.erased_at, row.until)
