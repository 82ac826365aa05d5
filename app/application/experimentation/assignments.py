"""The experiments that run, as a server knows them: followed like the champion, asked without any I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from app import telemetry
from app.domain.exceptions import UnavailableError
from app.domain.experiment_store import ExperimentStore
from app.domain.experiments import Assignment, Experiment, ExperimentStatus, assigned, pinned_by


class Assignments:
    """Which arm a user is in. While the database is away, what was known last goes on."""

    def __init__(self, store: ExperimentStore, poll_seconds: float) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._running: Sequence[Experiment] = ()

    async def load(self) -> None:
        """Look now. Raises UnavailableError."""
        active = await self._store.active()
        self._running = tuple(one for one in active if one.status is ExperimentStatus.RUNNING)
        telemetry.EXPERIMENTS_RUNNING.set(len(self._running))

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.load()
            except UnavailableError:
                telemetry.BACKGROUND_FAILURES.labels("experiments").inc()
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    def wake(self) -> None:
        """Look again at once: this process has changed an experiment."""
        self._wake.set()

    def pinned(self) -> Collection[str]:
        """Ids of models that arms of running experiments pin."""
        return pinned_by(self._running)

    def of(self, user_id: str) -> Assignment | None:
        """The user's arm in the oldest experiment that holds this user; None outside all of them."""
        for experiment in self._running:
            found = assigned(experiment, user_id)
            if found is not None:
                return found
        return None

    def arm(self, experiment_id: str, variant: str) -> Assignment | None:
        """An arm by name, for somebody who looks at it; None if no running experiment has it."""
        for experiment in self._running:
            for arm in experiment.arms:
                if (experiment.experiment_id, arm.name) == (experiment_id, variant):
                    return Assignment(experiment_id, arm)
        return None

    def is_running(self, experiment_id: str) -> bool:
        """True while anybody can be in it."""
        return any(one.experiment_id == experiment_id for one in self._running)
