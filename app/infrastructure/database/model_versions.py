"""Model versions and the champion pointers, moved by compare-and-swap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.canary import CanaryStatus
from app.domain.entities import Champion, ModelStatus, ModelVersion, OutboxMessage, TrainingJob
from app.domain.exceptions import ConflictError, NotFoundError, StaleTokenError
from app.domain.experiments import ACTIVE
from app.domain.training_stores import ModelStore
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.counting import advance, latest
from app.infrastructure.database.experiment_tables import canaries, experiments
from app.infrastructure.database.model_rows import (
    VERSION_COLUMNS,
    find_version,
    insert_version,
    set_champion,
    token_counter,
    version_counter,
    version_of,
)
from app.infrastructure.database.outbox import insert_messages
from app.infrastructure.database.tables import champions, model_versions, promotions
from app.infrastructure.database.trainings import finish_job, liveness_lock_name


@dataclass(frozen=True, slots=True)
class _Pointer:
    """A row of `champions`."""

    model_id: str | None = None
    epoch: int = 0
    token: int = 0


class SqlModelStore(ModelStore):
    """ModelStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, model: ModelVersion) -> ModelVersion:
        async with self._connections.write() as connection:
            return await insert_version(connection, self._connections.dialect, model)

    async def next_version(self, model_type: str) -> int:
        async with self._connections.read() as connection:
            return await latest(connection, version_counter(model_type)) + 1

    async def get(self, model_id: str) -> ModelVersion | None:
        async with self._connections.read() as connection:
            return await find_version(connection, model_id)

    async def list(self, model_type: str | None, limit: int) -> Sequence[ModelVersion]:
        query = sa.select(*VERSION_COLUMNS).order_by(
            model_versions.c.created_at.desc(), model_versions.c.version.desc(), model_versions.c.model_id
        )
        if model_type is not None:
            query = query.where(model_versions.c.model_type == model_type)
        async with self._connections.read() as connection:
            return [version_of(row) for row in (await connection.execute(query.limit(limit))).mappings()]

    async def champion(self, model_type: str) -> Champion | None:
        query = (
            sa.select(champions.c.epoch, *VERSION_COLUMNS)
            .join_from(champions, model_versions, model_versions.c.model_id == champions.c.model_id)
            .where(champions.c.model_type == model_type)
        )
        async with self._connections.low_latency() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Champion(version_of(row), row["epoch"])

    async def promote(
        self,
        model_id: str,
        *,
        token: int | None,
        expected: str | None,
        at: datetime,
        messages: Sequence[OutboxMessage] = (),
        job: TrainingJob | None = None,
    ) -> Champion:
        async with self._connections.write() as connection:
            model = await find_version(connection, model_id)
            if model is None:
                raise NotFoundError("model")
            if model.status is ModelStatus.REJECTED or model.artifact_key is None:
                raise ConflictError("a rejected model, or one without an artifact, cannot be promoted")
            await self._connections.dialect.advisory_lock(connection, f"champion:{model.model_type}")
            if token is None:
                token = await advance(connection, self._connections.dialect, token_counter(model.model_type))
            epoch = await self._swap(connection, model, expected, token, at)
            await set_champion(connection, model, at)
            if job is not None:
                await finish_job(connection, job)
            await insert_messages(connection, messages)
        if job is not None:
            await self._connections.dialect.release(liveness_lock_name(job.training_id))
        return Champion(replace(model, status=ModelStatus.CHAMPION, promoted_at=at), epoch)

    async def _swap(
        self, connection: AsyncConnection, model: ModelVersion, expected: str | None, token: int, at: datetime
    ) -> int:
        """Move the pointer; its new epoch."""
        query = sa.select(champions.c.model_id, champions.c.epoch, champions.c.token).where(
            champions.c.model_type == model.model_type
        )
        row = (await connection.execute(query)).mappings().one_or_none()
        present = _Pointer() if row is None else _Pointer(**row)
        if present.model_id != expected:
            raise StaleTokenError("the champion is another one by now")
        if present.token > token:
            raise StaleTokenError("a newer trainer or an operator has promoted since")
        values = {
            "model_type": model.model_type,
            "model_id": model.model_id,
            "epoch": present.epoch + 1,
            "token": token,
        }
        insert = self._connections.dialect.insert(champions).values(values)
        await connection.execute(
            insert.on_conflict_do_update(index_elements=[champions.c.model_type], set_=dict(insert.excluded.items()))
        )
        await connection.execute(sa.insert(promotions), {**values, "promoted_at": at})
        return present.epoch + 1

    async def previous(self, model_type: str) -> ModelVersion | None:
        """Behind the present champion's *first* promotion: rolling back twice goes back twice, not to and fro."""
        present = sa.select(champions.c.model_id).where(champions.c.model_type == model_type).scalar_subquery()
        log = promotions.c
        first = sa.select(sa.func.min(log.epoch)).where(log.model_type == model_type, log.model_id == present)
        earlier = (
            sa.select(*VERSION_COLUMNS)
            .join_from(promotions, model_versions, model_versions.c.model_id == log.model_id)
            .where(log.model_type == model_type, log.epoch < first.scalar_subquery(), log.model_id != present)
            .where(model_versions.c.artifact_key.is_not(None))
            .order_by(log.epoch.desc())
            .limit(1)
        )
        async with self._connections.read() as connection:
            row = (await connection.execute(earlier)).mappings().one_or_none()
        return None if row is None else version_of(row)

    async def retire_artifacts(self, model_type: str, keep: int) -> Sequence[str]:
        mine = model_versions.c.model_type == model_type
        newest = sa.select(model_versions.c.model_id).where(mine, model_versions.c.artifact_key.is_not(None))
        kept = newest.order_by(model_versions.c.version.desc()).limit(keep)
        in_charge = sa.select(champions.c.model_id).where(champions.c.model_type == model_type)
        on_trial = sa.select(canaries.c.model_id).where(canaries.c.status == CanaryStatus.RUNNING.value)
        compared = sa.select(experiments.c.document).where(experiments.c.status.in_(ACTIVE))
        async with self._connections.write() as connection:
            await self._connections.dialect.advisory_lock(connection, f"champion:{model_type}")
            kept_ids = {
                one for query in (kept, in_charge, on_trial) for one in (await connection.execute(query)).scalars()
            }
            for document in (await connection.execute(compared)).scalars():
                kept_ids |= {arm["model_id"] for arm in document["arms"] if arm.get("model_id") is not None}
            old = mine & model_versions.c.artifact_key.is_not(None) & model_versions.c.model_id.not_in(kept_ids)
            keys = (await connection.execute(sa.select(model_versions.c.artifact_key).where(old))).scalars().all()
            forget = sa.update(model_versions).where(old).values(artifact_key=None, manifest_sha256=None)
            await connection.execute(forget)
        return [key for key in keys if key is not None]
