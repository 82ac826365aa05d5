"""Long computations in a thread: progress comes back to the event loop, and the loop can stop them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from threadpoolctl import threadpool_limits

from app.domain.recommender import ProgressCallback
from app.domain.threads import at_most
from app.spans import carried

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a training is: the words shown to people, and 0–1."""

    stage: str
    fraction: float


class ProgressTracker:
    """Where the computing thread leaves its position and learns that it should stop.

    Written by one thread, read by the loop: single references, swapped whole, so no lock is needed.
    """

    def __init__(self) -> None:
        self.position = TrainingProgress("starting", 0.0)
        self._stop: Exception | None = None

    def stop(self, reason: Exception) -> None:
        """Let the next report raise `reason`; the first reason stays."""
        self._stop = self._stop or reason

    def check(self) -> None:
        """Raise the reason to stop, if there is one."""
        if self._stop is not None:
            raise self._stop

    def at(self, stage: str, fraction: float) -> None:
        """Report a position on the whole way."""
        self.check()
        self.position = TrainingProgress(stage, fraction)

    def within(self, stretch: str, low: float, high: float) -> ProgressCallback:
        """A reporter for one stretch of the way: its 0–1 becomes low–high."""
        self.at(stretch, low)

        def report(stage: str, fraction: float) -> None:
            inside = low + (high - low) * min(max(fraction, 0.0), 1.0)
            # Stages inside a stretch start again at 0: what people see never runs backwards.
            self.at(f"{stretch}: {stage}", max(self.position.fraction, inside))

        return report


async def compute(work: Callable[[], T], threads: int) -> T:
    """Run `work` in a thread of its own with at most `threads` BLAS and OpenMP threads; await its result.

    A daemon thread, not a pool: a fit that is deep in native code must not hold up the end of the process. Cancelling
    the await does not stop the thread; stop it through its Tracker.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

    work = carried(work)

    def target() -> None:
        result, error = None, None
        try:
            # The limit belongs to the thread that sets it, so it is set here.
            with threadpool_limits(threads), at_most(threads):
                result = work()
        except BaseException as raised:  # noqa: BLE001  # it is handed to the awaiting task, whatever it is
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(deliver, result, error)

    threading.Thread(target=target, name="compute", daemon=True).start()
    return await done
