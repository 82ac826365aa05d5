"""Lists in the cache that all processes share: read, written back, and waited for while another one makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from time import monotonic

from app import telemetry
from app.application.recommending.list_policy import ListPolicy
from app.application.recommending.list_request import ListRequest
from app.domain.exceptions import CacheUnavailableError
from app.domain.interfaces import Cache, CacheReply
from app.domain.ranked_list import RankedList, decode_list, encode_list

_ERROR = telemetry.CACHE_READS.labels("shared", "error")

WAIT_SECONDS = 1.0
"""Longer than a list takes; whoever has waited so long for another process computes after all."""
_PAUSE_SECONDS = 0.02


def may_compute(reply: CacheReply | None) -> bool:
    """False where another process is making the list that is missing."""
    return reply is None or reply.has_lease or reply.value is not None


class RemoteListCache:
    """A cache that is away is a miss, and it is nobody's turn but ours."""

    def __init__(self, cache: Cache, clock: Callable[[], datetime], policy: ListPolicy) -> None:
        self._cache = cache
        self._clock = clock
        self._policy = policy

    async def read(self, user_id: str, variant: str, limit: int | None, limit_key: str = "") -> CacheReply | None:
        """The cache's answer; None while it is away."""
        try:
            return await self._cache.read(user_id, variant, limit, limit_key)
        except CacheUnavailableError:
            _ERROR.inc()
            return None

    def decoded(self, request: ListRequest, value: bytes | None) -> RankedList | None:
        """The list in these bytes, if it is this user's and still true."""
        ranked = (
            None if value is None else decode_list(value, request.user_id, request.serving.label, request.serving.view)
        )
        return None if ranked is None or ranked.good_until <= self._clock().timestamp() else ranked

    async def made_elsewhere(self, request: ListRequest) -> RankedList | None:
        """The list that another process is making; None once it is our turn, or we have waited long enough."""
        deadline = monotonic() + WAIT_SECONDS
        while not request.has_lease and monotonic() < deadline:
            await asyncio.sleep(_PAUSE_SECONDS)
            reply = await self.read(request.user_id, request.variant, None)
            if reply is None or reply.generation != request.generation or reply.has_lease:
                return None
            if reply.value is not None:
                return self.decoded(request, reply.value)
        return None

    async def write(self, request: ListRequest, ranked: RankedList, now: datetime) -> None:
        """Keep a list, unless its user's generation has moved on."""
        ttl, stale = self._policy.ttl_seconds, self._policy.stale_seconds
        if request.is_filtered:
            ttl, stale = min(ttl, self._policy.filtered_ttl_seconds), 0.0
        left = ranked.good_until - now.timestamp()
        # Without a model the database's count decides, and it moves on every few seconds.
        if request.serving.model is None or request.generation is None or left <= 0:
            await self.release_lease(request)
            return
        value = encode_list(ranked, request.user_id, request.serving.label, request.serving.view)
        try:
            await self._cache.write(request.user_id, request.variant, request.generation, value, min(ttl, left), stale)
        except CacheUnavailableError:
            _ERROR.inc()

    async def release_lease(self, request: ListRequest) -> None:
        """No list came of our turn: whoever asks next need not wait for one."""
        if request.generation is not None and request.has_lease:
            with suppress(CacheUnavailableError):  # the turn ends by itself
                await self._cache.release_lease(request.user_id, request.variant, request.generation)
