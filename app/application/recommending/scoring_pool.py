"""A few threads for NumPy and FAISS, so that the event loop goes on answering."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

from app.domain.exceptions import OverloadedError
from app.spans import carried

P = ParamSpec("P")
T = TypeVar("T")


class ScoringPool:
    """At most `threads` computations at once and `max_waiting` in all; the next one is shed with OverloadedError."""

    def __init__(self, threads: int, max_waiting: int) -> None:
        # One request, one core: libraries that start threads of their own only make the others wait.
        self._executor = ThreadPoolExecutor(threads, "scoring", initializer=_one_native_thread)
        self._max_waiting = max_waiting
        self._waiting = 0

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work(…)`, computed in a thread. Cancelling the await does not stop what runs already."""
        if self._waiting >= self._max_waiting:
            raise OverloadedError("too many lists are being computed")
        self._waiting += 1
        future = self._executor.submit(carried(work), *args, **kwargs)
        # What was cancelled but runs on still fills a thread, so it is counted until it ends.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _done: _later(loop, self._ended))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Take nothing more; what runs ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _ended(self) -> None:
        self._waiting -= 1


def _one_native_thread() -> None:
    threadpool_limits(1)


def _later(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)
