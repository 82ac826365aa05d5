"""Concurrent requests for one key compute once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from app.domain.exceptions import OverloadedError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Shares one computation among all who ask while it runs. A waiter who gives up does not stop it for the others.

    At most `max_running` keys are computed at once; the next one raises OverloadedError.
    """

    def __init__(self, max_running: int) -> None:
        self._max_running = max_running
        self._running: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def get(self, key: K, compute: Callable[[], Awaitable[V]]) -> V:
        """The result of `compute()`, or of the one that runs for this key already; its error goes to all."""
        return await asyncio.shield(self.begin(key, compute))

    def begin(self, key: K, compute: Callable[[], Awaitable[V]]) -> asyncio.Task[V]:
        """Compute without waiting. Raises OverloadedError."""
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= self._max_running:
                raise OverloadedError("too many lists are being computed")
            task = asyncio.create_task(self._run(key, compute))
            # Where nobody waits any more, nobody would look at the error either.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._running[key] = task
        return task

    async def _run(self, key: K, compute: Callable[[], Awaitable[V]]) -> V:
        try:
            return await compute()
        finally:
            del self._running[key]

    async def close(self) -> None:
        """Stop what still runs."""
        running = tuple(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
