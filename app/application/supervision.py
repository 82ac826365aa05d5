"""Loops that keep a process current: started together, restarted when they fail, stopped together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from app import telemetry
from app.application.waiting import Backoff

log = telemetry.get_logger(__name__)

Loop = Callable[[], Awaitable[None]]
LAG_SECONDS = 0.25


@contextlib.asynccontextmanager
async def supervised(loops: Mapping[str, Loop]) -> AsyncIterator[None]:
    """Run the loops beside the body; cancel them when it ends. A failure is counted, and the loop begins again."""
    tasks = [asyncio.create_task(keep_running(name, loop), name=name) for name, loop in loops.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def keep_running(name: str, loop: Loop, backoff: Backoff | None = None) -> None:
    """Run a loop until it returns, whatever it raises; pauses grow while it keeps failing."""
    pauses = backoff or Backoff(first_seconds=0.5, max_seconds=15.0)
    while True:
        try:
            await loop()
        except Exception:
            telemetry.BACKGROUND_FAILURES.labels(name).inc()
            log.exception("background_loop_restarted", task=name)
        else:
            return
        await asyncio.sleep(pauses.next_seconds())


async def watch_lag() -> None:
    """Measure how late the event loop wakes a timer: what every other request feels too."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        telemetry.EVENT_LOOP_LAG_SECONDS.observe(max(0.0, loop.time() - due))
