"""Reports: one row a slot, claimed by an insert, taken over only from a process that died."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.reports import Report, ReportStore
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.insert_once import insert_once
from app.infrastructure.database.tables import reports

_COLUMNS = tuple(reports.c[field.name] for field in fields(Report))
_GRACE = timedelta(seconds=5)
"""Between claiming a slot and showing a sign of life lies one round trip to the database."""


class SqlReportStore(ReportStore):
    """ReportStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def claim(self, name: str, slot: datetime, now: datetime) -> bool:
        row = {"name": name, "slot": slot, "claimed_at": now, "figures": {}}
        async with self._connections.write() as connection:
            inserted = await connection.execute(insert_once(connection, reports).values(row))
            if not inserted.rowcount and not await self._taken_over(connection, name, slot, now):
                return False
        await self._connections.hold(_liveness_lock_name(name, slot))
        return True

    async def _taken_over(self, connection: AsyncConnection, name: str, slot: datetime, now: datetime) -> bool:
        abandoned = _is(name, slot) & reports.c.made_at.is_(None) & (reports.c.claimed_at < now - _GRACE)
        claimed_at = (await connection.execute(sa.select(reports.c.claimed_at).where(abandoned))).scalar_one_or_none()
        if claimed_at is None or await self._connections.dialect.is_held(connection, _liveness_lock_name(name, slot)):
            return False
        # Two may have seen the same dead claim: only one of them still finds it as it was.
        mine = sa.update(reports).where(abandoned, reports.c.claimed_at == claimed_at).values(claimed_at=now)
        return bool((await connection.execute(mine)).rowcount)

    async def finish(self, report: Report) -> bool:
        values = {"made_at": report.made_at, "model_id": report.model_id, "figures": dict(report.figures)}
        update = sa.update(reports).where(_is(report.name, report.slot), reports.c.made_at.is_(None)).values(values)
        async with self._connections.write() as connection:
            stored = bool((await connection.execute(update)).rowcount)
        await self._connections.dialect.release(_liveness_lock_name(report.name, report.slot))
        return stored

    async def is_due(self, name: str, slot: datetime, now: datetime) -> bool:
        query = sa.select(reports.c.made_at, reports.c.claimed_at).where(_is(name, slot))
        async with self._connections.write() as connection:
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                return True
            if row.made_at is not None or row.claimed_at >= now - _GRACE:
                return False
            return not await self._connections.dialect.is_held(connection, _liveness_lock_name(name, slot))

    async def latest(self, name: str) -> Report | None:
        query = sa.select(*_COLUMNS).where(_made(name)).order_by(reports.c.slot.desc()).limit(1)
        async with self._connections.read() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Report(**row)

    async def newest(self, name: str, limit: int) -> Sequence[Report]:
        query = sa.select(*_COLUMNS).where(_made(name)).order_by(reports.c.slot.desc()).limit(limit)
        async with self._connections.read() as connection:
            return [Report(**row) for row in (await connection.execute(query)).mappings()]

    async def prune(self, name: str, before: datetime) -> int:
        newest = sa.select(sa.func.max(reports.c.slot)).where(_made(name)).scalar_subquery()
        old = sa.delete(reports).where(reports.c.name == name, reports.c.slot < before, reports.c.slot < newest)
        async with self._connections.write() as connection:
            return (await connection.execute(old)).rowcount


def _is(name: str, slot: datetime) -> sa.ColumnElement[bool]:
    return (reports.c.name == name) & (reports.c.slot == slot)


def _made(name: str) -> sa.ColumnElement[bool]:
    return (reports.c.name == name) & reports.c.made_at.is_not(None)


def _liveness_lock_name(name: str, slot: datetime) -> str:
    return f"report-{name}-{slot:%Y%m%dT%H%M}"
