"""Training jobs. One per model type at a time is a unique index; a token makes overtaken trainers harmless."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.audit_scope import nothing_changed
from app.domain.entities import ModelVersion, OutboxMessage, TrainingJob, TrainingStatus
from app.domain.exceptions import (
    DatabaseUnavailableError,
    IdempotencyError,
    NotFoundError,
    StaleTokenError,
    TrainingRunningError,
)
from app.domain.training_stores import TrainingStore
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.counting import advance
from app.infrastructure.database.model_rows import insert_version, token_counter
from app.infrastructure.database.outbox import insert_messages
from app.infrastructure.database.tables import trainings

_COLUMNS = tuple(trainings.c[field.name] for field in fields(TrainingJob))
_ACTIVE = trainings.c.status.in_([TrainingStatus.QUEUED, TrainingStatus.RUNNING])
_FINAL_COLUMNS = ("status", "reason", "metrics", "model_id", "finished_at", "stage", "progress")
_LOST = "the trainer stopped reporting"
_GRACE = timedelta(seconds=2)
"""So long after its last heartbeat a trainer whose sign of life is gone is taken for dead. A moment's patience, as a
restarted database has forgotten the signs of the living until their next heartbeat renews them."""


async def finish_job(connection: AsyncConnection, job: TrainingJob) -> None:
    """Write a job's end in the caller's transaction. Raises StaleTokenError if it no longer runs under its token."""
    row = _row(job)
    final = {name: row[name] for name in _FINAL_COLUMNS}
    update = sa.update(trainings).where(_held(job.training_id, job.fencing_token)).values(final)
    if not (await connection.execute(update)).rowcount:
        raise StaleTokenError("this training is no longer running under this token")


class SqlTrainingStore(TrainingStore):
    """TrainingStore on SQL. `lease_seconds`: a running job silent for longer is taken for dead."""

    def __init__(self, connections: Connections, *, lease_seconds: float) -> None:
        self._connections = connections
        self._lease = timedelta(seconds=lease_seconds)

    async def create(self, job: TrainingJob, idempotency_key: str | None = None, body_sha256: str = "") -> TrainingJob:
        values = {**_row(job), "idempotency_key": idempotency_key, "body_sha256": body_sha256}
        insert = self._connections.dialect.insert(trainings).values(values).on_conflict_do_nothing()
        async with self._connections.write() as connection:
            await self._fail_silent(connection, job)
            await self._fail_dead(connection, job)
            if (await connection.execute(insert)).rowcount:
                return job
            return await self._already_there(connection, job, idempotency_key, body_sha256)

    async def _fail_silent(self, connection: AsyncConnection, job: TrainingJob) -> None:
        silent = (trainings.c.status == TrainingStatus.RUNNING) & (
            trainings.c.heartbeat_at < job.created_at - self._lease
        )
        lost = {"status": TrainingStatus.FAILED, "reason": _LOST, "finished_at": job.created_at}
        await connection.execute(
            sa.update(trainings).where(trainings.c.model_type == job.model_type, silent).values(lost)
        )

    async def _fail_dead(self, connection: AsyncConnection, job: TrainingJob) -> None:
        """Those whose process is gone need not be waited for until their lease ends."""
        running = sa.select(trainings.c.training_id).where(
            trainings.c.model_type == job.model_type,
            trainings.c.status == TrainingStatus.RUNNING,
            trainings.c.heartbeat_at < job.created_at - _GRACE,
        )
        dead = {"status": TrainingStatus.FAILED, "reason": "the trainer died", "finished_at": job.created_at}
        for training_id in (await connection.execute(running)).scalars().all():
            if not await self._connections.dialect.is_held(connection, liveness_lock_name(training_id)):
                await connection.execute(sa.update(trainings).where(_held_by_nobody(training_id)).values(dead))

    async def _already_there(
        self, connection: AsyncConnection, job: TrainingJob, idempotency_key: str | None, body_sha256: str
    ) -> TrainingJob:
        # Without a key there is nothing to compare: `= NULL` would become IS NULL and find any job without one.
        same_key = sa.select(trainings).where(trainings.c.idempotency_key == (idempotency_key or ""))
        made = (await connection.execute(same_key)).mappings().one_or_none()
        if made is not None:
            if made["body_sha256"] != body_sha256 or made["model_type"] != job.model_type:
                raise IdempotencyError("this Idempotency-Key was used for another training")
            nothing_changed()
            return _job(made)
        active = sa.select(trainings.c.training_id).where(trainings.c.model_type == job.model_type, _ACTIVE)
        raise TrainingRunningError((await connection.execute(active)).scalar_one())

    async def start(
        self, training_id: str, now: datetime, messages: Sequence[OutboxMessage] = ()
    ) -> TrainingJob | None:
        queued = (trainings.c.training_id == training_id) & (trainings.c.status == TrainingStatus.QUEUED)
        async with self._connections.write() as connection:
            find = sa.select(trainings.c.model_type).where(queued).with_for_update()
            model_type = (await connection.execute(find)).scalar()
            if model_type is None:
                return None
            token = await advance(connection, self._connections.dialect, token_counter(model_type))
            running = {
                "status": TrainingStatus.RUNNING,
                "fencing_token": token,
                "started_at": now,
                "heartbeat_at": now,
                "stage": "starting",
            }
            start = sa.update(trainings).where(queued).values(running).returning(*_COLUMNS)
            await insert_messages(connection, messages)
            job = _job((await connection.execute(start)).mappings().one())
        with suppress(DatabaseUnavailableError):  # the first heartbeat tries again
            await self._connections.hold(liveness_lock_name(training_id))
        return job

    async def heartbeat(self, training_id: str, token: int, now: datetime, stage: str, progress: float) -> TrainingJob:
        beat = {"heartbeat_at": now, "stage": stage, "progress": progress}
        update = sa.update(trainings).where(_held(training_id, token)).values(beat).returning(*_COLUMNS)
        async with self._connections.write() as connection:
            row = (await connection.execute(update)).mappings().one_or_none()
        if row is None:
            await self._connections.dialect.release(liveness_lock_name(training_id))
            raise StaleTokenError("this training is no longer running under this token")
        await self._connections.hold(liveness_lock_name(training_id))
        return _job(row)

    async def finish(
        self, job: TrainingJob, messages: Sequence[OutboxMessage] = (), model: ModelVersion | None = None
    ) -> None:
        async with self._connections.write() as connection:
            await finish_job(connection, job)
            if model is not None:
                await insert_version(connection, self._connections.dialect, model)
            await insert_messages(connection, messages)
        await self._connections.dialect.release(liveness_lock_name(job.training_id))

    async def cancel(self, training_id: str, now: datetime) -> TrainingJob | None:
        this = trainings.c.training_id == training_id
        at_once = {"status": TrainingStatus.CANCELLED, "finished_at": now, "cancel_requested": True}
        async with self._connections.write() as connection:
            await connection.execute(
                sa.update(trainings).where(this, trainings.c.status == TrainingStatus.QUEUED).values(at_once)
            )
            await connection.execute(
                sa.update(trainings)
                .where(this, trainings.c.status == TrainingStatus.RUNNING)
                .values(cancel_requested=True)
            )
            row = (await connection.execute(sa.select(*_COLUMNS).where(this))).mappings().one_or_none()
        return None if row is None else _job(row)

    async def get(self, training_id: str) -> TrainingJob | None:
        query = sa.select(*_COLUMNS).where(trainings.c.training_id == training_id)
        async with self._connections.low_latency() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _job(row)

    async def list(self, limit: int, before: str | None = None) -> Sequence[TrainingJob]:
        age = sa.tuple_(trainings.c.created_at, trainings.c.training_id)
        query = sa.select(*_COLUMNS).order_by(trainings.c.created_at.desc(), trainings.c.training_id.desc())
        if before is not None:
            job = await self.get(before)
            if job is None:
                raise NotFoundError("training")
            query = query.where(age < sa.tuple_(sa.literal(job.created_at, trainings.c.created_at.type), before))
        async with self._connections.read() as connection:
            return [_job(row) for row in (await connection.execute(query.limit(limit))).mappings()]


def liveness_lock_name(training_id: str) -> str:
    """The name by which the process of a running training shows that it lives."""
    return f"training-{training_id}"


def _held_by_nobody(training_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(trainings.c.training_id == training_id, trainings.c.status == TrainingStatus.RUNNING)


def _held(training_id: str, token: int | None) -> sa.ColumnElement[bool]:
    return sa.and_(
        trainings.c.training_id == training_id,
        trainings.c.status == TrainingStatus.RUNNING,
        trainings.c.fencing_token == token,
    )


def _row(job: TrainingJob) -> dict[str, object]:
    return {**asdict(job), "status": job.status.value}


def _job(row: RowMapping) -> TrainingJob:
    values: dict[str, Any] = {column.name: row[column.name] for column in _COLUMNS}
    return TrainingJob(**{**values, "status": TrainingStatus(values["status"])})
