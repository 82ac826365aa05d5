"""Erasures as stored: a row each, with how far it is; and graves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.erasure import Erasure, ErasureStore, Finding, Grave, Person, digest_of
from app.domain.exceptions import NotFoundError
from app.infrastructure.database.columns import EPOCH
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.erasure_tables import erasures, graves
from app.infrastructure.database.experiment_tables import request_log
from app.infrastructure.database.removing_people import grave_of, remove_rows, write_graves
from app.infrastructure.database.tables import dead_letters, interactions, outbox, tombstones, users

_COLUMNS = tuple(column for column in erasures.c if column.name != "claimed_until")
_WAITS = erasures.c.finished_at.is_(None)
_PAPERS: Mapping[str, tuple[sa.Table, sa.Column[int], sa.ColumnElement[str]]] = {
    "dead_letters": (dead_letters, dead_letters.c.dead_letter_id, sa.literal("")),
    "outbox": (outbox, outbox.c.sequence, outbox.c.key),
}
_PIECE = 1_000


class SqlErasureStore(ErasureStore):
    """ErasureStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def known(self, people: Sequence[Person]) -> Collection[str]:
        ids, names = [one.user_id for one in people], {one.pseudonym: one.user_id for one in people}
        rows = sa.select(users.c.user_id).where(users.c.user_id.in_(ids))
        lists = sa.select(request_log.c.user).where(request_log.c.user.in_(list(names))).distinct()
        async with self._connections.read() as connection:
            known = set((await connection.execute(rows)).scalars())
            logged = (await connection.execute(lists)).scalars().all()
        return known | {names[user] for user in logged if user is not None}

    async def add(self, erasure: Erasure) -> None:
        async with self._connections.write() as connection:
            await connection.execute(sa.insert(erasures), _row(erasure))

    async def get(self, erasure_id: str) -> Erasure | None:
        query = sa.select(*_COLUMNS).where(erasures.c.erasure_id == erasure_id)
        async with self._connections.read() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _erasure(row)

    async def claim(self, erasure_id: str | None, now: datetime, lease_seconds: float) -> Erasure | None:
        free = _WAITS & (erasures.c.claimed_until.is_(None) | (erasures.c.claimed_until <= now))
        if erasure_id is not None:
            free &= erasures.c.erasure_id == erasure_id
        oldest = sa.select(*_COLUMNS).where(free).order_by(erasures.c.requested_at).limit(1)
        async with self._connections.write() as connection:
            await self._connections.dialect.advisory_lock(connection, "erasures")
            row = (await connection.execute(oldest)).mappings().one_or_none()
            if row is None:
                return None
            mine = sa.update(erasures).where(erasures.c.erasure_id == row["erasure_id"])
            await connection.execute(mine.values(claimed_until=now + timedelta(seconds=lease_seconds)))
        return _erasure(row)

    async def extend(self, erasure_id: str, until: datetime) -> None:
        mine = sa.update(erasures).where(erasures.c.erasure_id == erasure_id, _WAITS)
        async with self._connections.write() as connection:
            await connection.execute(mine.values(claimed_until=until))

    async def remove_people(self, people: Sequence[Person], at: datetime, until: datetime) -> Mapping[str, Finding]:
        async with self._connections.write() as connection:
            return await remove_rows(connection, self._connections.dialect, people, at, until)

    async def remove_next(self, erasure_id: str, people: Sequence[Person]) -> Erasure:
        async with self._connections.write() as connection:
            erasure = await _locked(connection, erasure_id)
            wanted = erasure.user_ids[erasure.removed : erasure.removed + len(people)]
            if wanted != tuple(one.user_id for one in people):  # somebody else has done them already
                return erasure
            dialect = self._connections.dialect
            found = await remove_rows(connection, dialect, people, erasure.requested_at, erasure.until)
            await _add(connection, erasure, found, removed=erasure.removed + len(people))
            return await _locked(connection, erasure_id)

    async def papers(
        self, table: str, after: int, limit: int, containing: Collection[bytes]
    ) -> Sequence[tuple[int, str, bytes]]:
        papers, number, key = _PAPERS[table]
        query = sa.select(number, key, papers.c.payload).where(number > after).order_by(number).limit(limit)
        if containing:
            holds = self._connections.dialect.holds
            parts = [holds(papers.c.payload, part) for part in containing]
            names = key.in_([part.decode("utf-8", "replace") for part in containing])
            query = query.where(sa.or_(names, *parts))
        async with self._connections.read() as connection:
            return [(row[0], row[1], row[2]) for row in await connection.execute(query)]

    async def remove_papers(self, table: str, numbers: Collection[int], erasure_id: str | None) -> int:
        papers, number, _key = _PAPERS[table]
        async with self._connections.write() as connection:
            erasure = None if erasure_id is None else await _locked(connection, erasure_id)
            removed = (await connection.execute(sa.delete(papers).where(number.in_(numbers)))).rowcount
            if erasure is not None:
                await _add(connection, erasure, {table: Finding(len(numbers), removed)})
        return removed

    async def note(self, erasure_id: str, findings: Mapping[str, Finding]) -> Erasure:
        async with self._connections.write() as connection:
            erasure = await _locked(connection, erasure_id)
            await _write_findings(connection, erasure_id, {**erasure.findings, **findings})
            return await _locked(connection, erasure_id)

    async def finish(self, erasure: Erasure) -> None:
        this = erasures.c.erasure_id == erasure.erasure_id
        values = _row(erasure) | {"claimed_until": None}
        async with self._connections.write() as connection:
            await connection.execute(sa.update(erasures).where(this, _WAITS).values(values))

    async def bury(self, graves: Sequence[Grave]) -> None:
        for start in range(0, len(graves), _PIECE):
            async with self._connections.write() as connection:
                dialect = self._connections.dialect
                await dialect.erase_alone(connection)
                await write_graves(connection, dialect, graves[start : start + _PIECE])

    async def graves(self, after: bytes, limit: int) -> Sequence[Grave]:
        query = sa.select(graves).where(graves.c.digest > after).order_by(graves.c.digest).limit(limit)
        async with self._connections.read() as connection:
            return [grave_of(row) for row in await connection.execute(query)]

    async def newest_grave(self) -> datetime | None:
        async with self._connections.read() as connection:
            newest = await connection.execute(sa.select(sa.func.max(graves.c.erased_at)))
            moment: datetime | None = newest.scalar_one()
        return moment

    async def graves_since(self, at: datetime, limit: int) -> Sequence[Grave]:
        newest = sa.select(graves).where(graves.c.erased_at >= at).order_by(graves.c.erased_at.desc()).limit(limit)
        async with self._connections.read() as connection:
            return [grave_of(row) for row in await connection.execute(newest)]

    async def lists_of(self, graves: Sequence[Grave], *, remove: bool) -> int:
        void = [
            (request_log.c.user == one.pseudonym) & (request_log.c.at <= one.lists_until)
            for one in graves
            if one.pseudonym is not None
        ]
        if not void:
            return 0
        async with self._connections.write() as connection:
            if remove:
                return (await connection.execute(sa.delete(request_log).where(sa.or_(*void)))).rowcount
            count = sa.select(sa.func.count()).select_from(request_log).where(sa.or_(*void))
            return (await connection.execute(count)).scalar_one()

    async def returned(self, graves: Mapping[str, Grave]) -> Collection[str]:
        profiles = sa.select(users.c.user_id, users.c.user_key, users.c.updated_at).where(
            users.c.user_id.in_(list(graves))
        )
        async with self._connections.read() as connection:
            rows = (await connection.execute(profiles)).all()
            oldest = sa.select(interactions.c.user_key, sa.func.min(interactions.c.occurred_at)).where(
                interactions.c.user_key.in_([row.user_key for row in rows])
            )
            found = await connection.execute(oldest.group_by(interactions.c.user_key))
            first = {row[0]: row[1] for row in found}
        back = set()
        for row in rows:
            until, began = graves[row.user_id].until, first.get(row.user_key)
            has_new_profile = row.updated_at > until or (row.updated_at == EPOCH and began is not None)
            if has_new_profile and (began is None or began > until):
                back.add(row.user_id)
        return back

    async def adopt_tombstones(self) -> int:
        adopted = 0
        while True:
            async with self._connections.write() as connection:
                rows = (await connection.execute(sa.select(tombstones).limit(_PIECE))).all()
                found = [Grave(digest_of(row.user_id), None, EPOCH, row.until) for row in rows]
                await write_graves(connection, self._connections.dialect, found)
                gone = tombstones.c.user_id.in_([row.user_id for row in rows])
                await connection.execute(sa.delete(tombstones).where(gone))
            adopted += len(rows)
            if len(rows) < _PIECE:
                return adopted


async def _locked(connection: AsyncConnection, erasure_id: str) -> Erasure:
    query = sa.select(*_COLUMNS).where(erasures.c.erasure_id == erasure_id).with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NotFoundError("erasure")
    return _erasure(row)


async def _add(connection: AsyncConnection, erasure: Erasure, found: Mapping[str, Finding], **values: object) -> None:
    findings = dict(erasure.findings)
    for name, one in found.items():
        before = findings.get(name, Finding())
        findings[name] = replace(one.after(before), found_again=(before.found_again or 0) + (one.found_again or 0))
    await _write_findings(connection, erasure.erasure_id, findings, **values)


async def _write_findings(
    connection: AsyncConnection, erasure_id: str, findings: Mapping[str, Finding], **values: object
) -> None:
    written = {name: asdict(one) for name, one in findings.items()}
    this = sa.update(erasures).where(erasures.c.erasure_id == erasure_id)
    await connection.execute(this.values(findings=written, **values))


def _row(erasure: Erasure) -> dict[str, Any]:
    findings = {name: asdict(one) for name, one in erasure.findings.items()}
    values = {column.name: getattr(erasure, column.name) for column in _COLUMNS}
    return {**values, "user_ids": list(erasure.user_ids), "findings": findings}


def _erasure(row: RowMapping) -> Erasure:
    values: dict[str, Any] = {column.name: row[column.name] for column in _COLUMNS}
    findings = {name: Finding(**one) for name, one in values["findings"].items()}
    return Erasure(**{**values, "user_ids": tuple(values["user_ids"]), "findings": findings})
