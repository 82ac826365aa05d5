"""Canaries as stored: a row a model, one running row a model type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from app.domain.canary import Canary, CanaryStatus, CanaryStore
from app.domain.entities import OutboxMessage
from app.domain.exceptions import ConflictError
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.experiment_tables import canaries
from app.infrastructure.database.outbox import insert_messages
from app.infrastructure.database.tables import champions

_COLUMNS = tuple(canaries.c[field.name] for field in fields(Canary))
_RUNNING = canaries.c.status == CanaryStatus.RUNNING.value


class SqlCanaryStore(CanaryStore):
    """CanaryStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def start(self, canary: Canary, messages: Sequence[OutboxMessage] = ()) -> Canary:
        champion = sa.select(champions.c.model_id).where(champions.c.model_type == canary.model_type)
        mine = canaries.c.model_id == canary.model_id
        async with self._connections.write() as connection:
            await self._connections.dialect.advisory_lock(connection, f"champion:{canary.model_type}")
            if (await connection.execute(champion)).scalar_one_or_none() != canary.champion_id:
                raise ConflictError("the champion is another one by now")
            taken = sa.select(sa.func.count()).where(_RUNNING, canaries.c.model_type == canary.model_type)
            if (await connection.execute(taken)).scalar_one():
                raise ConflictError("another canary of this model type is running")
            before = (await connection.execute(sa.select(canaries.c.revision).where(mine))).scalar_one_or_none()
            started = replace(canary, revision=(before or 0) + 1)
            await connection.execute(sa.delete(canaries).where(mine))
            await connection.execute(sa.insert(canaries), _row(started))
            await insert_messages(connection, messages)
        return started

    async def get(self, model_id: str) -> Canary | None:
        query = sa.select(*_COLUMNS).where(canaries.c.model_id == model_id)
        async with self._connections.read() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _canary(row)

    async def running(self) -> Sequence[Canary]:
        query = sa.select(*_COLUMNS).where(_RUNNING).order_by(canaries.c.model_type)
        async with self._connections.read() as connection:
            return [_canary(row) for row in (await connection.execute(query)).mappings()]

    async def replace(self, canary: Canary, messages: Sequence[OutboxMessage] = ()) -> None:
        seen = (canaries.c.model_id == canary.model_id) & (canaries.c.revision == canary.revision - 1)
        async with self._connections.write() as connection:
            if not (await connection.execute(sa.update(canaries).where(seen, _RUNNING).values(_row(canary)))).rowcount:
                raise ConflictError("somebody else has moved this canary meanwhile")
            await insert_messages(connection, messages)


def _row(canary: Canary) -> dict[str, Any]:
    return {**asdict(canary), "steps": list(canary.steps), "status": canary.status.value}


def _canary(row: RowMapping) -> Canary:
    values: dict[str, Any] = {column.name: row[column.name] for column in _COLUMNS}
    return Canary(**{**values, "steps": tuple(values["steps"]), "status": CanaryStatus(values["status"])})
