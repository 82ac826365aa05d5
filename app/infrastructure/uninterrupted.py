"""Work that must come to its end although whoever asked for it is cancelled: opening, closing, blocking calls.

A cancellation that arrives in the midst of closing would leave open what is not closed yet, and one that arrives while
a driver connects leaves a connection that nobody knows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE_SECONDS = 0.2


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is never cancelled; a cancellation of ours is raised when it has ended.

    `work` must be bounded: nobody can leave earlier.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # looked at: nobody else will
    raise cancelled


async def ended(*tasks: asyncio.Future[Any] | None, timeout_seconds: float) -> None:
    """Cancel these and wait for their end; cancel again what went on regardless, as drivers do. Raises nothing."""
    known = {task for task in tasks if task is not None}
    left, deadline = {task for task in known if not task.done()}, time.monotonic() + timeout_seconds
    while left and time.monotonic() < deadline:
        for task in left:
            task.cancel()
        _done, left = await asyncio.wait(left, timeout=_PATIENCE_SECONDS)
    for task in known - left:
        if not task.cancelled():
            task.exception()


class BlockingCalls:
    """A few threads for blocking calls. A cancelled caller leaves at once; its call is waited for by `close`."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._running: set[Future[Any]] = set()

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """The result of `work(*arguments)` in a thread. Raises RuntimeError after `close`."""
        call = self._pool.submit(work, *arguments)
        self._running.add(call)
        call.add_done_callback(self._running.discard)
        return await asyncio.wrap_future(call)

    async def close(self, timeout_seconds: float) -> None:
        """Start nothing new and wait for what runs, at most `timeout_seconds`."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        await uninterrupted(asyncio.to_thread(self._wait, timeout_seconds))

    def _wait(self, timeout_seconds: float) -> None:
        if not wait(set(self._running), timeout_seconds).not_done:
            self._pool.shutdown(wait=True)
