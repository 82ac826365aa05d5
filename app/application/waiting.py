"""Pauses of background loops: growing, jittered, and over at once when the process is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Waits that double up to a bound, with full jitter, so that many relays do not come back at one moment."""

    first_seconds: float
    max_seconds: float
    failures: int = 0

    def reset(self) -> None:
        self.failures = 0

    def next_seconds(self) -> float:
        """https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ ("full jitter", with a floor)."""
        ceiling = min(self.max_seconds, self.first_seconds * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


async def wait_unless(stopping: asyncio.Event, seconds: float) -> None:
    """Sleep, but wake at once when `stopping` is set."""
    # Not wait_for: on Python 3.11 it swallows a cancellation that comes in the moment the event is set (bpo-37658),
    # and the loop around it would never end.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()


async def wait_any(*events: asyncio.Event) -> None:
    """Until one of the events is set."""
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
