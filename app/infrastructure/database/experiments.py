"""Experiments as stored: what is asked for in columns, the rest as one document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from app.domain.exceptions import ConflictError, NotFoundError
from app.domain.experiment_store import ExperimentStore
from app.domain.experiments import ACTIVE, Experiment, overlap
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.experiment_tables import experiments

_NAMES = frozenset(field.name for field in fields(Experiment))


class SqlExperimentStore(ExperimentStore):
    """ExperimentStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, experiment: Experiment) -> None:
        async with self._connections.write() as connection:
            await connection.execute(sa.insert(experiments), _row(experiment))

    async def get(self, experiment_id: str) -> Experiment | None:
        query = sa.select(experiments).where(experiments.c.experiment_id == experiment_id)
        async with self._connections.read() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _experiment(row)

    async def list(self, limit: int, before: str | None = None) -> Sequence[Experiment]:
        place = sa.tuple_(experiments.c.created_at, experiments.c.experiment_id)
        query = sa.select(experiments).order_by(experiments.c.created_at.desc(), experiments.c.experiment_id.desc())
        if before is not None:
            other = experiments.alias()
            at = sa.select(other.c.created_at, other.c.experiment_id).where(other.c.experiment_id == before)
            query = query.where(place < at.scalar_subquery())
        async with self._connections.read() as connection:
            return [_experiment(row) for row in (await connection.execute(query.limit(limit))).mappings()]

    async def active(self) -> Sequence[Experiment]:
        query = sa.select(experiments).where(experiments.c.status.in_(ACTIVE)).order_by(experiments.c.created_at)
        async with self._connections.read() as connection:
            return [_experiment(row) for row in (await connection.execute(query)).mappings()]

    async def replace(self, experiment: Experiment) -> None:
        is_it = experiments.c.experiment_id == experiment.experiment_id
        others = sa.select(experiments).where(experiments.c.layer == experiment.layer, ~is_it)
        swap = sa.update(experiments).where(is_it, experiments.c.revision == experiment.revision - 1)
        async with self._connections.write() as connection:
            await self._connections.dialect.advisory_lock(connection, f"experiments:{experiment.layer}")
            active = (await connection.execute(others.where(experiments.c.status.in_(ACTIVE)))).mappings()
            if any(overlap(experiment.buckets, _experiment(row).buckets) for row in active):
                raise ConflictError("another experiment of this layer has taken these users meanwhile")
            if (await connection.execute(swap.values(_row(experiment)))).rowcount:
                return
            found = (await connection.execute(sa.select(sa.func.count()).where(is_it))).scalar_one()
        if not found:
            raise NotFoundError("experiment")
        raise ConflictError("somebody else has changed this experiment meanwhile")


def _row(experiment: Experiment) -> dict[str, object]:
    values = msgspec.to_builtins(experiment, builtin_types=())
    return {
        "experiment_id": experiment.experiment_id,
        "layer": experiment.layer,
        "status": experiment.status.value,
        "revision": experiment.revision,
        "created_at": experiment.created_at,
        "document": values,
    }


def _experiment(row: RowMapping) -> Experiment:
    # Fields that a newer process has added are left alone.
    document = {name: value for name, value in row["document"].items() if name in _NAMES}
    return msgspec.convert(document, Experiment)
