"""Training, from request to verdict (docs/design.md §8): ask for one, ring for those that wait, run one.

The database decides who may train: one job per model type, and a fencing token that a newer trainer overtakes. The
artifact is written and read back before its row exists, and row, champion and the job's end change in one transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from uuid import uuid4

from app.application.artifacts.canary import with_canary
from app.application.artifacts.model_artifacts import load_model, save_model
from app.application.ranking.candidate_generation import OpenIndex, index_facts
from app.application.training import training_records as records
from app.application.training.background_computation import ProgressTracker, compute
from app.application.training.comparison import Decision, ModelComparison, Snapshot, TrainingPolicy, dataset_of, fit
from app.application.training.retention import remove_old_artifacts
from app.application.training.training_inputs import read_incumbent, read_snapshot
from app.application.training.training_lease import ProgressListener, keep_alive, write_through_outage
from app.domain.dataset import Dataset
from app.domain.entities import Champion, ModelVersion, TrainingJob, TrainingStatus
from app.domain.exceptions import (
    EncoreError,
    InputError,
    NotFoundError,
    StaleTokenError,
    TrainingCancelledError,
    UnavailableError,
)
from app.domain.interfaces import ArtifactStore, JobQueue
from app.domain.recommender import MEMBER_OF_TYPE, Recommender, Recommenders
from app.domain.stores import Database
from app.spans import exemplar, span
from app.telemetry import TRAINING_RUNNING, TRAINING_SECONDS, TRAININGS, get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What somebody asks for. Without a seed the setting decides; the window is start_date ≤ event < end_date."""

    model_type: str
    start_date: datetime | None = None
    end_date: datetime | None = None
    seed: int | None = None
    idempotency_key: str | None = None
    body_sha256: str = ""


async def request_training(
    database: Database,
    jobs: JobQueue,
    recommenders: Recommenders,
    clock: Callable[[], datetime],
    request: TrainingRequest,
) -> TrainingJob:
    """Queue a training and ring for a worker.

    Raises InputError, TrainingRunningError, IdempotencyError; BrokerUnavailableError when nobody can be rung: the job
    is cancelled then, so that asking again later works.
    """
    job, is_new = await _queue(database, recommenders, clock, request)
    if is_new:  # a repeated request has been rung for already
        try:
            await jobs.submit(job.training_id)
        except UnavailableError:
            await database.trainings.cancel(job.training_id, clock())
            raise
    return job


async def queue_training(
    database: Database, recommenders: Recommenders, clock: Callable[[], datetime], request: TrainingRequest
) -> TrainingJob:
    """Queue a training without ringing: for a caller who runs it itself. Raises as `request_training`."""
    job, _ = await _queue(database, recommenders, clock, request)
    return job


async def _queue(
    database: Database, recommenders: Recommenders, clock: Callable[[], datetime], request: TrainingRequest
) -> tuple[TrainingJob, bool]:
    """The queued job, and whether this request made it (an idempotency key may name one that was there)."""
    if MEMBER_OF_TYPE.get(request.model_type, request.model_type) not in recommenders.names():
        raise InputError("unknown model type", "model_type")
    if request.start_date is not None and request.end_date is not None and request.start_date >= request.end_date:
        raise InputError("the window ends before it starts", "end_date")
    job = TrainingJob(
        training_id=str(uuid4()),
        model_type=request.model_type,
        status=TrainingStatus.QUEUED,
        created_at=clock(),
        parameters={} if request.seed is None else {"seed": request.seed},
        start_date=request.start_date,
        end_date=request.end_date,
    )
    stored = await database.trainings.create(job, request.idempotency_key, request.body_sha256)
    return stored, stored.training_id == job.training_id


async def requeue_pending(database: Database, jobs: JobQueue, asked_before: datetime | None = None) -> int:
    """Ring again for trainings that a process which is gone has left in the queue; returns how many.

    `asked_before`: only for those that wait since then; a worker may be starting on the others.
    """
    queued = [
        job
        for job in await database.trainings.list(100)
        if job.status is TrainingStatus.QUEUED and (asked_before is None or job.created_at < asked_before)
    ]
    for job in reversed(queued):
        await jobs.submit(job.training_id)
    return len(queued)


@dataclass(frozen=True, slots=True)
class _Work:
    """What one training has gathered on its way."""

    job: TrainingJob
    snapshot: Snapshot
    champion: Champion | None
    decision: Decision
    seed: int


class Trainer:
    """Runs queued trainings. Safe to run in several processes at once: the database lets one per model type through."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        recommenders: Recommenders,
        clock: Callable[[], datetime],
        policy: TrainingPolicy,
        *,
        seed: int,
        code_version: str,
        open_index: OpenIndex | None = None,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._recommenders = recommenders
        self._clock = clock
        self._policy = policy
        self._seed = seed
        self._code_version = code_version
        self._open_index = open_index

    async def run(self, training_id: str, listener: ProgressListener | None = None) -> TrainingJob:
        """Run a queued training to its end and return it; one that is not queued is returned as it is.

        A training that fails for a known reason, or is cancelled, is returned as such. Raises NotFoundError;
        StaleTokenError if another trainer has taken over (nothing is written then); CancelledError after the job is
        marked as cancelled, when the process is told to stop; anything unexpected, after the job is marked as failed.
        """
        queued = await self._database.trainings.get(training_id)
        if queued is None:
            raise NotFoundError("training")
        now = self._clock()
        job = await self._database.trainings.start(training_id, now, [records.started_message(queued, now)])
        if job is None:
            return await self._database.trainings.get(training_id) or queued
        TRAINING_RUNNING.labels(job.model_type).set(1)
        began = monotonic()
        try:
            ended = await self._guarded(job, listener)
        finally:
            TRAINING_RUNNING.labels(job.model_type).set(0)
            TRAINING_SECONDS.labels(job.model_type).observe(monotonic() - began, exemplar())
        TRAININGS.labels(job.model_type, ended.status.value).inc()
        log.info("training_ended", training_id=training_id, status=ended.status.value, reason=ended.reason)
        return ended

    async def _guarded(self, job: TrainingJob, listener: ProgressListener | None) -> TrainingJob:
        """Train beside a heartbeat; whatever happens, the job gets its final state, unless it is no longer ours."""
        tracker = ProgressTracker()
        pulse = asyncio.create_task(
            keep_alive(self._database.trainings, job, tracker, self._clock, self._policy.heartbeat_seconds, listener),
            name="training-pulse",
        )
        try:
            return await self._train(job, tracker)
        except TrainingCancelledError as error:
            return await self._fail(job, TrainingStatus.CANCELLED, str(error))
        except asyncio.CancelledError:
            tracker.stop(TrainingCancelledError("the process was told to stop"))
            with contextlib.suppress(StaleTokenError):  # it had ended already: only cleaning up was cut short
                await self._fail(job, TrainingStatus.CANCELLED, "the process was told to stop")
            raise
        except EncoreError as error:
            log.warning("training_failed", training_id=job.training_id, problem=str(error))
            return await self._fail(job, TrainingStatus.FAILED, str(error))
        except Exception as error:
            await self._fail(job, TrainingStatus.FAILED, f"internal error ({type(error).__name__})")
            raise
        finally:
            pulse.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pulse

    async def _train(self, job: TrainingJob, tracker: ProgressTracker) -> TrainingJob:
        seed = asked if isinstance(asked := job.parameters.get("seed"), int) else self._seed
        tracker.at("reading", 0.0)
        with span("read"):
            snapshot = await read_snapshot(self._database, self._clock(), job.start_date, job.end_date)
            champion = await self._database.models.champion(job.model_type)
            incumbent = await read_incumbent(champion, snapshot, self._artifacts, self._recommenders, self._policy)
        judging = ModelComparison(snapshot, self._recommenders, self._policy, seed, tracker)
        with span("select and judge"):
            decision = await compute(lambda: judging.decide(job.model_type, incumbent), self._policy.threads)
        work = _Work(job, snapshot, champion, decision, seed)
        return await (self._promote(work, tracker) if decision.verdict.promote else self._reject(work))

    async def _reject(self, work: _Work) -> TrainingJob:
        now, decision = self._clock(), work.decision
        row = await self._row(work, now)
        ended = records.ended(work.job, TrainingStatus.REJECTED, "; ".join(decision.verdict.reasons), now, row.metrics)
        completed = [records.completed_message(ended, now)]
        await self._persist(ended, lambda: self._database.trainings.finish(ended, completed, row))
        return ended

    async def _promote(self, work: _Work, tracker: ProgressTracker) -> TrainingJob:
        with span("refit"):
            recommender, dataset = await compute(lambda: self._refit(work, tracker), self._policy.threads)
        tracker.at("saving", 0.92)
        with span("save"):
            model = await self._save(await self._row(work, self._clock()), recommender, dataset, work)
        tracker.at("promoting", 0.98)
        now, reason = self._clock(), "; ".join(work.decision.verdict.reasons)
        ended = records.ended(work.job, TrainingStatus.PROMOTED, reason, now, model.metrics)
        with span("promote", attributes={"encore.model.version": model.version}):
            await self._persist(ended, lambda: self._publish(model, ended, work.champion, now))
        await remove_old_artifacts(self._database, self._artifacts, model.model_type, self._policy.keep_versions)
        return ended

    def _refit(self, work: _Work, tracker: ProgressTracker) -> tuple[Recommender, Dataset]:
        """The judged recipe, fitted to everything. Runs in the computing thread."""
        dataset = dataset_of(work.snapshot.columns, work.snapshot, self._policy)
        progress = tracker.within("fitting to all data", 0.75, 0.92)
        return fit(work.decision.recipe, dataset, self._recommenders, work.seed, progress), dataset

    async def _row(self, work: _Work, now: datetime) -> ModelVersion:
        lineage = records.Lineage(
            recipe=records.recipe_facts(work.decision.recipe),
            window=records.window_of(work.job, work.snapshot),
            seed=work.seed,
            code_version=self._code_version,
            parent=None if work.champion is None else work.champion.model.model_id,
            is_refresh=work.decision.is_refresh,
        )
        version = await self._database.models.next_version(work.job.model_type)
        return records.model_row(work.job, work.decision, lineage, version, now)

    async def _save(self, model: ModelVersion, recommender: Recommender, dataset: Dataset, work: _Work) -> ModelVersion:
        """Write the artifact under a key nobody else uses, and read it back as a server would."""
        indexes = await asyncio.to_thread(index_facts, recommender, self._open_index, self._policy.index_above)
        key, manifest_sha256 = await save_model(
            self._artifacts,
            f"models/{model.model_type}/{model.version:06d}-{work.job.training_id}",
            recommender,
            dataset.items,
            dataset.item_features.names if dataset.item_features else (),
            records.manifest_facts(model, work.decision, work.seed, self._code_version, indexes),
            user_feature_names=dataset.user_features.names if dataset.user_features else (),
        )
        model = replace(model, artifact_key=key, manifest_sha256=manifest_sha256)
        model = await asyncio.to_thread(with_canary, model, recommender)
        await load_model(self._artifacts, model, self._recommenders)
        return model

    async def _publish(self, model: ModelVersion, ended: TrainingJob, champion: Champion | None, now: datetime) -> None:
        """Row, champion, end of the job and the event about it."""
        if await self._database.models.get(model.model_id) is None:
            await self._database.models.add(model)
        await self._database.models.promote(
            model.model_id,
            token=ended.fencing_token,
            expected=None if champion is None else champion.model.model_id,
            at=now,
            messages=[records.completed_message(ended, now, model.artifact_key)],
            job=ended,
        )

    async def _fail(self, job: TrainingJob, status: TrainingStatus, reason: str) -> TrainingJob:
        now = self._clock()
        ended, completed = records.ended(job, status, reason, now), records.completed_message
        await self._persist(ended, lambda: self._database.trainings.finish(ended, [completed(ended, now)]))
        return ended

    async def _persist(self, ended: TrainingJob, write: Callable[[], Awaitable[None]]) -> None:
        await write_through_outage(self._database.trainings, ended, write)
