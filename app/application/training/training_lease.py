"""A running training and the database: the heartbeat that keeps its lease, and the end that waits out an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from time import monotonic
from typing import Protocol

from app.application.training.background_computation import ProgressTracker
from app.application.waiting import Backoff
from app.domain.entities import TrainingJob
from app.domain.exceptions import StaleTokenError, TrainingCancelledError, UnavailableError
from app.domain.training_stores import TrainingStore
from app.spans import unrecorded
from app.telemetry import BACKGROUND_FAILURES

_WATCH_SECONDS = 0.1
_PATIENCE_SECONDS = 60.0
"""How long a finished training waits for a database that is away before it gives its work up."""


class ProgressListener(Protocol):
    """Shown how far a training is; called on the event loop."""

    def __call__(self, stage: str, fraction: float) -> None:
        """`fraction` is 0–1 of the whole training."""


async def keep_alive(
    trainings: TrainingStore,
    job: TrainingJob,
    tracker: ProgressTracker,
    clock: Callable[[], datetime],
    heartbeat_seconds: float,
    listener: ProgressListener | None,
) -> None:
    """Show progress often, record it now and then, and stop the training when it is cancelled or overtaken.

    Runs until it is cancelled.
    """
    assert job.fencing_token is not None  # a running job has one
    next_beat = monotonic() + heartbeat_seconds
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        stage, fraction = tracker.position.stage, tracker.position.fraction
        if listener is not None:
            listener(stage, fraction)
        if monotonic() < next_beat:
            continue
        next_beat = monotonic() + heartbeat_seconds
        try:
            with unrecorded():  # twice a second: nobody looks for that
                current = await trainings.heartbeat(job.training_id, job.fencing_token, clock(), stage, fraction)
        except StaleTokenError as error:
            tracker.stop(error)
        except UnavailableError:
            # Safe to go on: the token decides at the end whether this training still counts.
            BACKGROUND_FAILURES.labels("training-heartbeat").inc()
        else:
            if current.cancel_requested:
                tracker.stop(TrainingCancelledError("cancelled on request"))


async def write_through_outage(
    trainings: TrainingStore, ended: TrainingJob, write: Callable[[], Awaitable[None]]
) -> None:
    """Write the end of a training, waiting for a database that is away: the work behind it was long.

    An answer that got lost makes the repetition stale; that is fine if what is stored is what we wrote.
    """
    backoff, deadline = Backoff(0.2, 5.0), monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return await write()
        except StaleTokenError:
            stored = await trainings.get(ended.training_id) if backoff.failures else None
            if stored is None or stored.status is not ended.status:
                raise
            return None
        except UnavailableError:
            if monotonic() > deadline:
                raise
            await asyncio.sleep(backoff.next_seconds())
