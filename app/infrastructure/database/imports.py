"""Imports: which there were, and the sequences of the interactions they added. Taking one back: import_undo.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.exceptions import ConflictError, NotFoundError
from app.domain.import_store import ImportKind, ImportRecord, ImportState, ImportStore, RemovedRows, refuse_undo
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.staging import resolved
from app.infrastructure.database.tables import import_ranges, imports

_RANGE = sa.select(sa.func.min(resolved.c.sequence), sa.func.max(resolved.c.sequence))
_RECORDS = (
    sa.select(
        *imports.c,
        sa.func.min(import_ranges.c.first_sequence).label("first_sequence"),
        sa.func.max(import_ranges.c.last_sequence).label("last_sequence"),
    )
    .join_from(imports, import_ranges, import_ranges.c.import_id == imports.c.import_id, isouter=True)
    .group_by(imports.c.import_id)
)


async def note_batch(connection: AsyncConnection, import_id: str, added: int) -> None:
    """In the transaction of a batch: the rows it added are this import's. ConflictError if it is undone meanwhile."""
    mine = (imports.c.import_id == import_id) & (imports.c.state == ImportState.UNFINISHED)
    counted = await connection.execute(sa.update(imports).where(mine).values(rows=imports.c.rows + added))
    if not counted.rowcount:
        raise ConflictError("this import is being undone: it cannot add any more rows")
    if added:
        first, last = (await connection.execute(_RANGE)).one()
        row = {"import_id": import_id, "first_sequence": first, "last_sequence": last}
        await connection.execute(sa.insert(import_ranges).values(row))


class SqlImportStore(ImportStore):
    """ImportStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def start(self, record: ImportRecord) -> None:
        row = {column.name: getattr(record, column.name) for column in imports.c}
        async with self._connections.write() as connection:
            await connection.execute(sa.insert(imports).values({**row, "files": list(record.files)}))

    async def finish(self, import_id: str, at: datetime, entries: int = 0) -> None:
        mine = (imports.c.import_id == import_id) & (imports.c.state == ImportState.UNFINISHED)
        values = {"state": ImportState.FINISHED, "finished_at": at, "rows": imports.c.rows + entries}
        async with self._connections.write() as connection:
            await connection.execute(sa.update(imports).where(mine).values(values))

    async def get(self, import_id: str) -> ImportRecord | None:
        async with self._connections.read() as connection:
            rows = await connection.execute(_RECORDS.where(imports.c.import_id == import_id))
            row = rows.mappings().one_or_none()
        return None if row is None else _record(row)

    async def list(self, limit: int) -> Sequence[ImportRecord]:
        query = _RECORDS.order_by(imports.c.started_at.desc(), imports.c.import_id).limit(limit)
        async with self._connections.read() as connection:
            return [_record(row) for row in (await connection.execute(query)).mappings()]

    async def undo(self, import_id: str, at: datetime) -> AsyncIterator[RemovedRows]:
        record = await self.get(import_id)
        if record is None:
            raise NotFoundError("import")
        refuse_undo(record)
        # Its many statements are built when somebody undoes, not whenever a process starts.
        from app.infrastructure.database.import_undo import ImportUndo

        async for removed in ImportUndo(self._connections, import_id).run(at):
            yield removed


def _record(row: Any) -> ImportRecord:
    return ImportRecord(**{**row, "kind": ImportKind(row["kind"]), "state": ImportState(row["state"])})
