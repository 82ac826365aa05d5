"""What runs by the clock. A tick asks the database what is due, so ticks may be lost, late, doubled or many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.application.ingestion.dead_letter_retention import LetterBounds, prune
from app.application.reporting.reporter import job_name
from app.application.serving.canaries import Canaries
from app.application.training.model_training import TrainingRequest, request_training, requeue_pending
from app.application.training.retention import remove_old_artifacts
from app.domain.cron import Cron
from app.domain.entities import TrainingJob
from app.domain.exceptions import TrainingRunningError, UnavailableError
from app.domain.interfaces import ArtifactStore, JobQueue
from app.domain.recommender import Recommenders
from app.domain.stores import Database
from app.spans import traced
from app.telemetry import BACKGROUND_FAILURES, REQUESTS_PRUNED, get_logger

log = get_logger(__name__)

_MODEL_ROWS = 1_000
_PATIENCE = timedelta(seconds=60)
"""A worker that has heard a ring takes seconds to start."""

_OLDEST = timedelta(days=2)
"""A slot that was missed for longer is left alone; the next one comes soon enough."""

_REPORTS_KEPT = timedelta(days=90)
_PRUNED_AT_ONCE = 5_000
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Timetable:
    """When (None: never) and what. `reports`: when each is made. Slots before `since` are left alone."""

    training: Cron | None
    retention: Cron | None
    model_type: str
    keep_versions: int
    reports: Mapping[str, Cron] = field(default_factory=dict)
    since: datetime = LONG_AGO
    request_log_kept: timedelta = timedelta(days=90)
    letters: LetterBounds = field(default_factory=LetterBounds)


@dataclass
class Scheduler:
    """One process's view of the timetable. `slots`: what it has done already, to save the database the question."""

    database: Database
    artifacts: ArtifactStore
    jobs: JobQueue
    recommenders: Recommenders
    clock: Callable[[], datetime]
    timetable: Timetable
    slots: dict[str, datetime] = field(default_factory=dict)
    canaries: Canaries | None = None

    async def tick(self) -> None:
        """Do what is due and not done."""
        now = self.clock()
        await self._requeue_pending(now)
        if self.timetable.training is not None:
            slot = self.timetable.training.latest(now)
            if self._counts(slot, now):
                await self.train(slot)
        for name, cron in self.timetable.reports.items():
            await self.report(name, cron.latest(now))
        if self.canaries is not None:
            await self.canaries.tick(self.slots)
        if self.timetable.retention is not None:
            await self._retain(self.timetable.retention.latest(now))

    def _counts(self, slot: datetime, now: datetime) -> bool:
        return slot >= max(self.timetable.since, now - _OLDEST)

    async def report(self, name: str, slot: datetime) -> bool:
        """Ring for the report of this slot unless it is made or being made; whether it was rung for."""
        now, rung = self.clock(), f"{name} rung"
        # A process that was rung for takes seconds to claim the slot: ticks in between need not ring again.
        waits = self.slots.get(name) == slot and now - self.slots.get(rung, LONG_AGO) < _PATIENCE
        if waits or not self._counts(slot, now) or not await self.database.reports.is_due(name, slot, now):
            return False
        await self.jobs.submit(job_name(name, slot))
        self.slots[name], self.slots[rung] = slot, now
        return True

    async def train(self, slot: datetime) -> TrainingJob | None:
        """The training of this slot, made by whichever process comes first; None while another one is in the way."""
        if self.slots.get("training") == slot:
            return None
        model_type = self.timetable.model_type
        key = f"schedule:{model_type}:{slot.isoformat()}"
        request = TrainingRequest(model_type, idempotency_key=key, body_sha256=key)
        try:
            with traced(None, "schedule training"):
                job = await request_training(self.database, self.jobs, self.recommenders, self.clock, request)
        except TrainingRunningError as error:
            log.info("scheduled_training_postponed", slot=slot.isoformat(), running=error.training_id)
            return None
        self.slots["training"] = slot
        log.info("scheduled_training_requested", slot=slot.isoformat(), training_id=job.training_id)
        return job

    async def _requeue_pending(self, now: datetime) -> None:
        """For trainings whose ring got lost; while rings wait unanswered, more of them help nobody."""
        if not await self.jobs.depth():
            await requeue_pending(self.database, self.jobs, asked_before=now - _PATIENCE)

    async def _retain(self, slot: datetime) -> None:
        """Twice does no harm, so it is enough that every process remembers its own."""
        if self.slots.get("retention") == slot:
            return
        for model_type in {model.model_type for model in await self.database.models.list(None, _MODEL_ROWS)}:
            await remove_old_artifacts(self.database, self.artifacts, model_type, self.timetable.keep_versions)
        for name in self.timetable.reports:
            await self.database.reports.prune(name, slot - _REPORTS_KEPT)
        await self._prune_request_log(slot - self.timetable.request_log_kept)
        await prune(self.database, self.timetable.letters, self.clock())
        self.slots["retention"] = slot

    async def _prune_request_log(self, before: datetime) -> None:
        """In small batches, so that no writer waits long."""
        removed = _PRUNED_AT_ONCE
        while removed == _PRUNED_AT_ONCE:
            removed = await self.database.request_log.prune(before, _PRUNED_AT_ONCE)
            REQUESTS_PRUNED.inc(removed)


async def tick_for_ever(scheduler: Scheduler, period_seconds: float) -> None:
    """Tick in this process, where there is no Beat, until cancelled; what an outage holds up is done after it."""
    while True:
        try:
            await scheduler.tick()
        except UnavailableError:
            BACKGROUND_FAILURES.labels("schedule").inc()
        await asyncio.sleep(period_seconds)
