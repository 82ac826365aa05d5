"""The next row of the audit log, in whichever transaction it belongs to."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.audit import FIRST_PREVIOUS, AuditEntry, AuditRow, next_row
from app.infrastructure.database.audit_table import audit_log
from app.infrastructure.database.dialects import Dialect

PLACE = ("sequence", "previous", "hash", "version")
_NEWEST = sa.select(audit_log.c.sequence, audit_log.c.hash).order_by(audit_log.c.sequence.desc()).limit(1)


async def add_row(connection: AsyncConnection, dialect: Dialect, entry: AuditEntry) -> AuditRow:
    """Add the row; until the end of the transaction nobody else adds one. The last thing a transaction does."""
    await dialect.advisory_lock(connection, "audit_log")
    last = (await connection.execute(_NEWEST)).one_or_none()
    sequence, previous = (0, FIRST_PREVIOUS) if last is None else (last.sequence, last.hash)
    row = next_row(sequence, previous, entry)
    place = {name: getattr(row, name) for name in PLACE}
    await connection.execute(sa.insert(audit_log), {**place, **asdict(entry), "outcome": entry.outcome.value})
    return row
