"""Generation bumps that must not be forgotten: what the cache did not take is kept and tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from itertools import islice

from app import telemetry
from app.application.waiting import Backoff
from app.domain.exceptions import CacheUnavailableError
from app.domain.interfaces import Cache

CHUNK = 1_000
"""Users in one call: the cache's timeouts are made for small calls."""


class PendingBumps:
    """Raises the generations of users. While `is_clean` is false some wait, and the hint in the log must stay behind.

    Bounded: past `capacity` users the list is thrown away and `overflowed` set; reading again from the hint finds
    them all (docs/design.md §8).
    """

    def __init__(self, cache: Cache, capacity: int = 200_000) -> None:
        self._cache = cache
        self._capacity = capacity
        self._waiting: set[str] = set()
        self._backoff = Backoff(first_seconds=0.2, max_seconds=5.0)
        self._not_before = 0.0
        self._flushing = asyncio.Lock()
        self.overflowed = False

    @property
    def is_clean(self) -> bool:
        return not self._waiting and not self.overflowed

    def add(self, users: Collection[str]) -> None:
        """Note users whose lists must change; `flush` tells the cache."""
        self._waiting.update(users)
        if len(self._waiting) > self._capacity:
            self._waiting.clear()
            self.overflowed = True

    async def flush(self) -> bool:
        """Tell the cache, unless it failed a moment ago; True if nothing waits any more.

        One at a time: whoever comes meanwhile waits, and then finds that its users went along with others, or takes
        theirs along.
        """
        async with self._flushing:
            return await self._flush()

    async def _flush(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._not_before:
            return self.is_clean
        try:
            while chunk := set(islice(self._waiting, CHUNK)):
                await self._bump(chunk)
            if self.overflowed:
                await self._cache.ping()
        except CacheUnavailableError:
            telemetry.CACHE_BUMP_FAILURES.inc()
            self._not_before = now + self._backoff.next_seconds()
        else:
            self._backoff.reset()
        return self.is_clean

    async def _bump(self, chunk: set[str]) -> None:
        # Taken out before the call: a user who is added while it is under way must be bumped again.
        self._waiting -= chunk
        try:
            await self._cache.bump(chunk)
        except BaseException:  # cancelled, too: whether the cache took it is unknown then
            self._waiting |= chunk
            raise

    def can_recover(self) -> bool:
        """After an overflow: whether the cache answers again, so that reading from the hint will do."""
        return self.overflowed and self._backoff.failures == 0

    def recovered(self) -> None:
        """The caller reads again from the hint."""
        self.overflowed = False
