"""The cache in process memory: lists of recently asked users, their generations, and rate limits.

Single event loop, no locks: no method suspends, so each call is atomic. What is stale is gone: one process renews a
list in the time that a round trip would take.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field

from app.domain.interfaces import Cache, CacheReply, RateLimitStatus
from app.infrastructure.cache.broadcast import Broadcast
from app.infrastructure.cache.sliding_window import SlidingWindows

TTL_JITTER = 0.1
USER_LIMIT = "user:"
"""How a limit of a user begins, as callers and `read` name it."""
MAX_VARIANTS = 64
"""Lists held per user: one user with endless filter combinations must not push everybody else out."""
_USER_BYTES = 500
"""A user's record, its dictionaries and the slot in the LRU, measured with sys.getsizeof on CPython 3.11."""
_LIST_BYTES = 200
"""Key text, tuple and float beside each list."""


@dataclass(slots=True)
class _Held:
    """One user: the generation, and lists by variant as (value, expires at)."""

    generation: int
    lists: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    size: int = _USER_BYTES


class MemoryCache(Cache):
    """Bounded by bytes; the users not asked for longest go first.

    Generations come from one rising counter. A user without a record reads the highest generation that was evicted or
    bumped without one, so a list computed before a bump can never be written, or found, under the generation after it.

    `monotonic` gives seconds that never go back; `draw` gives numbers in [0, 1) for the TTL jitter.
    """

    is_shared = False

    def __init__(
        self,
        max_bytes: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._windows = SlidingWindows(max_bytes // 8)
        self._max_bytes = max_bytes - max_bytes // 8
        self._monotonic = monotonic
        self._draw = draw
        self._users: OrderedDict[str, _Held] = OrderedDict()
        self._size = 0
        self._counter = 0
        self._floor = 0
        self._broadcast = Broadcast()

    @property
    def size_bytes(self) -> int:
        """Estimated bytes held: lists, records and rate limits."""
        return self._size + self._windows.size_bytes

    async def read(self, user_id: str, variant: str, limit_per_minute: int | None, limit_key: str = "") -> CacheReply:
        quota = None if limit_per_minute is None else await self.hit(limit_key or f"user:{user_id}", limit_per_minute)
        held = self._users.get(user_id)
        if held is None:
            held = self._add(user_id, self._floor)
        else:
            self._users.move_to_end(user_id)
        value = self._live(held, variant)
        return CacheReply(held.generation, value, quota, value is None)

    async def write(
        self,
        user_id: str,
        variant: str,
        generation: int,
        value: bytes,
        ttl_seconds: float,
        stale_seconds: float = 0.0,
    ) -> bool:
        held = self._users.get(user_id)
        if (self._floor if held is None else held.generation) != generation:
            return False
        if held is None:
            held = self._add(user_id, generation)
        self._forget_list(held, variant)
        if len(held.lists) >= MAX_VARIANTS:
            self._forget_list(held, next(iter(held.lists)))
        jitter = 1 + TTL_JITTER * (2 * self._draw() - 1)
        held.lists[variant] = (value, self._monotonic() + ttl_seconds * jitter)
        self._resize(held, len(value) + len(variant) + _LIST_BYTES)
        self._users.move_to_end(user_id)
        self._evict()
        return True

    async def bump(self, user_ids: Collection[str]) -> None:
        for user_id in user_ids:
            self._counter += 1
            if user_id in self._users:
                self._drop(user_id)
                self._add(user_id, self._counter)
            else:
                # As if the record had been evicted: an import of a million users must not fill the cache with them.
                self._floor = self._counter
        self._broadcast.send(user_ids)

    async def release_lease(self, user_id: str, variant: str, generation: int) -> None:
        """There are no turns in one process: whoever asks computes, and a process computes a list once."""

    async def erase(self, is_theirs: Callable[[str], bool]) -> int:
        held = [user_id for user_id in self._users if is_theirs(user_id)]
        keys = sum(1 + len(self._users[user_id].lists) for user_id in held)
        for user_id in held:
            self._drop(user_id)
        self._counter += 1
        self._floor = self._counter  # lists that are being computed are of an older generation
        return keys + self._windows.erase(lambda key: key.startswith(USER_LIMIT) and is_theirs(key[len(USER_LIMIT) :]))

    async def hit(self, limit_key: str, limit_per_minute: int, cost: int = 1) -> RateLimitStatus:
        return self._windows.hit(limit_key, limit_per_minute, self._monotonic(), cost)

    def invalidations(self) -> AsyncIterator[str | None]:
        return self._broadcast.listen()

    async def ping(self) -> None:
        """Memory always answers."""

    async def close(self) -> None:
        self._broadcast.close()
        self._users.clear()
        self._size = 0

    def _live(self, held: _Held, variant: str) -> bytes | None:
        found = held.lists.get(variant)
        if found is None:
            return None
        value, expires_at = found
        if self._monotonic() < expires_at:
            return value
        self._forget_list(held, variant)
        return None

    def _add(self, user_id: str, generation: int) -> _Held:
        held = self._users[user_id] = _Held(generation)
        self._resize(held, len(user_id))
        self._size += _USER_BYTES
        self._evict()
        return held

    def _resize(self, held: _Held, change: int) -> None:
        held.size += change
        self._size += change

    def _forget_list(self, held: _Held, variant: str) -> None:
        found = held.lists.pop(variant, None)
        if found is not None:
            self._resize(held, -(len(found[0]) + len(variant) + _LIST_BYTES))

    def _drop(self, user_id: str) -> None:
        held = self._users.pop(user_id, None)
        if held is not None:
            self._size -= held.size

    def _evict(self) -> None:
        while self._size > self._max_bytes and len(self._users) > 1:
            _user_id, held = self._users.popitem(last=False)
            self._size -= held.size
            self._floor = max(self._floor, held.generation)
