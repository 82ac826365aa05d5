"""The audit log as stored: one writer at a time, so that sequences have no gap and every row knows the one before."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from app.domain.audit import AuditEntry, AuditRow, AuditStore, Outcome
from app.domain.audit_scope import changing
from app.infrastructure.database.audit_chain import PLACE, add_row
from app.infrastructure.database.audit_table import audit_log
from app.infrastructure.database.connections import Connections


class SqlAuditStore(AuditStore):
    """AuditStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def append(self, entry: AuditEntry) -> AuditRow:
        with changing(None):
            async with self._connections.write() as connection:
                return await add_row(connection, self._connections.dialect, entry)

    async def read(self, after: int, limit: int) -> Sequence[AuditRow]:
        query = sa.select(audit_log).where(audit_log.c.sequence > after).order_by(audit_log.c.sequence).limit(limit)
        return await self._rows(query)

    async def newest(self, limit: int) -> Sequence[AuditRow]:
        return await self._rows(sa.select(audit_log).order_by(audit_log.c.sequence.desc()).limit(limit))

    async def _rows(self, query: sa.Select[tuple[object, ...]]) -> Sequence[AuditRow]:
        async with self._connections.read() as connection:
            return [_row(found) for found in (await connection.execute(query)).mappings()]


def _row(found: RowMapping) -> AuditRow:
    values = {name: value for name, value in found.items() if name not in PLACE}
    entry = AuditEntry(**{**values, "outcome": Outcome(found["outcome"])})
    return AuditRow(found["sequence"], found["previous"], found["hash"], entry, found["version"])
