"""The ports to trainings and to the registry of models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from app.domain.entities import Champion, ModelVersion, OutboxMessage, TrainingJob


class TrainingStore(Protocol):
    """Training jobs: the truth about who may train."""

    @abstractmethod
    async def create(self, job: TrainingJob, idempotency_key: str | None = None, body_sha256: str = "") -> TrainingJob:
        """Queue a job. Raises TrainingRunningError if one of its model type is queued or running.

        A running one whose heartbeat is older than the lease (setting) is marked failed first. The same idempotency
        key returns the job it made; with another body it raises IdempotencyError.
        """

    @abstractmethod
    async def start(
        self, training_id: str, now: datetime, messages: Sequence[OutboxMessage] = ()
    ) -> TrainingJob | None:
        """queued → running with a new fencing token, higher than any before for its type; None if not queued.

        The outbox messages are written in the same transaction, and only if it did start.
        """

    @abstractmethod
    async def heartbeat(self, training_id: str, token: int, now: datetime, stage: str, progress: float) -> TrainingJob:
        """Record progress; returns the job so that the caller sees `cancel_requested`.
        Raises StaleTokenError if the job is no longer running under this token."""

    @abstractmethod
    async def finish(
        self, job: TrainingJob, messages: Sequence[OutboxMessage] = (), model: ModelVersion | None = None
    ) -> None:
        """Write the final status, reason, metrics and model id, and the outbox messages with it, in one transaction.

        `model`, the row of a rejected candidate, is added in it too (as `ModelStore.add` does). Raises StaleTokenError
        as `heartbeat` does, and then nothing is written.
        """

    @abstractmethod
    async def cancel(self, training_id: str, now: datetime) -> TrainingJob | None:
        """Queued: cancelled at once. Running: `cancel_requested`. Final: unchanged. None if unknown."""

    @abstractmethod
    async def get(self, training_id: str) -> TrainingJob | None:
        """The job, or None."""

    @abstractmethod
    async def list(self, limit: int, before: str | None = None) -> Sequence[TrainingJob]:
        """Newest first; `before` is a training_id of an earlier page."""


class ModelStore(Protocol):
    """The registry of model versions and the champion pointer of each model type."""

    @abstractmethod
    async def add(self, model: ModelVersion) -> ModelVersion:
        """Store a version; its `version` is set to the next of its type."""

    @abstractmethod
    async def next_version(self, model_type: str) -> int:
        """The number `add` would give now (for naming artifacts; uniqueness comes from the model id)."""

    @abstractmethod
    async def get(self, model_id: str) -> ModelVersion | None:
        """The version, or None."""

    @abstractmethod
    async def list(self, model_type: str | None, limit: int) -> Sequence[ModelVersion]:
        """Newest first."""

    @abstractmethod
    async def champion(self, model_type: str) -> Champion | None:
        """The champion and its epoch; None before the first promotion. Cheap: replicas poll it."""

    @abstractmethod
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
        """Compare-and-swap: make this the champion if the present one is still `expected` (None: there is none).

        `token` is a trainer's fencing token (None for an operator, which takes the next one). Raises StaleTokenError
        if the champion is another by now or a higher token has promoted; NotFoundError; ConflictError for a rejected
        or artifact-less model. The old champion becomes retired; the epoch rises by one; all in one transaction.
        `job`, the training that made the model, is finished in it too (as `TrainingStore.finish` does).
        """

    @abstractmethod
    async def previous(self, model_type: str) -> ModelVersion | None:
        """The version that was champion before the present one first became it (what `rollback` promotes), or None.
        So rolling back twice goes back twice, not to and fro. Versions without an artifact are passed over."""

    @abstractmethod
    async def retire_artifacts(self, model_type: str, keep: int) -> Sequence[str]:
        """Forget the artifact keys of all but the newest `keep` versions, the champion, a canary's candidate and
        what experiments pin; returns the keys."""
