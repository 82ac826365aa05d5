"""The cache in Redis (or Valkey): lists, generations and rate limits shared by all processes.

One server with or without replicas, a primary that Sentinel names, or a cluster; `maxmemory-policy allkeys-lru`. Keep
Celery's broker on another server or database group: its keys must not be evicted.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.domain.exceptions import CacheUnavailableError
from app.domain.interfaces import Cache, CacheReply, RateLimitStatus
from app.infrastructure.breaker import Breaker
from app.infrastructure.cache import redis_scripts
from app.infrastructure.cache.broadcast import Broadcast
from app.infrastructure.cache.redis_address import CLUSTER, RedisAddress, parse_redis_address
from app.infrastructure.cache.redis_client import RedisClient
from app.infrastructure.cache.redis_keys import RedisKeys
from app.infrastructure.cache.redis_listener import RedisListener
from app.infrastructure.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from app.infrastructure.cache.redis_cluster import ClusterClient

TTL_JITTER = 0.1
BUMP_USERS = 500
"""Users per command and per message: some 20 kB, well within the timeout."""

SCANNED_KEYS = 1_000
"""Looked at in one step: about a millisecond of the server."""

_READ = redis_scripts.digest(redis_scripts.READ)
_WRITE = redis_scripts.digest(redis_scripts.WRITE)
_HIT = redis_scripts.digest(redis_scripts.HIT)
_RELEASE_LEASE = redis_scripts.digest(redis_scripts.RELEASE_LEASE)
_SCRIPTS = (redis_scripts.READ, redis_scripts.WRITE, redis_scripts.HIT, redis_scripts.RELEASE_LEASE)
_LOAD = [("SCRIPT", "LOAD", script) for script in _SCRIPTS]


class RedisCache(Cache):
    """Every call ends within the address's timeout; after five failures in a row most are refused without asking.

    The user's id is stored inside each list and compared on reading: whatever goes wrong between the key and the
    reply, nobody gets somebody else's list.
    """

    is_shared = True

    def __init__(
        self, address: RedisAddress, *, breaker: Breaker | None = None, draw: Callable[[], float] = random.random
    ) -> None:
        self._keys = RedisKeys(address.prefix, is_clustered=address.kind == CLUSTER)
        self._draw = draw
        self._client = _open_client(address, breaker or Breaker("cache"))
        # Channels are not per database, keys are.
        self._channel = f"{address.prefix}invalidations:{address.database}"
        self._broadcast = Broadcast()
        self._listener = RedisListener(address, self._channel, self._broadcast)

    async def read(self, user_id: str, variant: str, limit_per_minute: int | None, limit_key: str = "") -> CacheReply:
        limit_key = limit_key or f"user:{user_id}"
        if limit_per_minute is not None and not self._keys.share_a_slot(user_id, limit_key):
            return await self._read_apart(user_id, variant, limit_per_minute, limit_key)
        history = await self._history()
        keys = (
            self._keys.generation(history, user_id),
            self._keys.list(history, user_id, variant),
            self._keys.limit(limit_key if limit_per_minute is not None else f"user:{user_id}"),
            self._keys.turn(history, user_id, variant),
        )
        limit = "" if limit_per_minute is None else limit_per_minute
        [answer] = await self._client.run(("EVALSHA", _READ, 4, *keys, limit), history=history)
        generation, value, counted, turn = answer
        quota = None if counted is None or limit_per_minute is None else _quota(limit_per_minute, counted)
        return CacheReply(int(generation), _own(generation, user_id, value), quota, bool(turn))

    async def _read_apart(self, user_id: str, variant: str, limit_per_minute: int, limit_key: str) -> CacheReply:
        """In a cluster the limit of somebody else lies on another node. Who may not ask gets no turn here either."""
        quota = await self.hit(limit_key, limit_per_minute)
        reply = await self.read(user_id, variant, None)
        if reply.has_lease and not quota.allowed:
            await self.release_lease(user_id, variant, reply.generation)
            reply = replace(reply, has_lease=False)
        return replace(reply, quota=quota)

    async def write(
        self,
        user_id: str,
        variant: str,
        generation: int,
        value: bytes,
        ttl_seconds: float,
        stale_seconds: float = 0.0,
    ) -> bool:
        jitter = 1 + TTL_JITTER * (2 * self._draw() - 1)
        ttl_ms = max(int(ttl_seconds * jitter * 1_000), 1)
        history = await self._history()
        keys = (
            self._keys.generation(history, user_id),
            self._keys.list(history, user_id, variant),
            self._keys.turn(history, user_id, variant),
        )
        kept_ms = ttl_ms + int(stale_seconds * 1_000)
        [stored] = await self._client.run(
            ("EVALSHA", _WRITE, 3, *keys, generation, _owned(user_id) + value, ttl_ms, kept_ms), history=history
        )
        return bool(stored)

    async def release_lease(self, user_id: str, variant: str, generation: int) -> None:
        history = await self._history()
        turn = self._keys.turn(history, user_id, variant)
        await self._client.run(("EVALSHA", _RELEASE_LEASE, 1, turn, generation), history=history)

    async def bump(self, user_ids: Collection[str]) -> None:
        for users in _chunks(user_ids, BUMP_USERS):
            # In this order: who hears the message and asks again finds the new generation.
            history = await self._history()
            await self._client.run(
                ("UNLINK", *(self._keys.generation(history, user_id) for user_id in users)),
                ("PUBLISH", self._channel, json.dumps(users)),
                history=history,
            )

    async def erase(self, is_theirs: Callable[[str], bool]) -> int:
        erased = 0
        async for keys in self._client.scan(SCANNED_KEYS):
            theirs = [key for key in keys if (user := self._keys.user_of(key)) is not None and is_theirs(user)]
            if theirs:
                await self._client.run(("UNLINK", *theirs))
                erased += len(set(theirs))
        return erased

    async def hit(self, limit_key: str, limit_per_minute: int, cost: int = 1) -> RateLimitStatus:
        key = self._keys.limit(limit_key)
        [counted] = await self._client.run(("EVALSHA", _HIT, 1, key, limit_per_minute, cost))
        return _quota(limit_per_minute, counted)

    async def invalidations(self) -> AsyncIterator[str | None]:
        if not await self._listener.started():
            return
        async for user_id in self._broadcast.listen():
            yield user_id

    async def ping(self) -> None:
        [answer] = await self._client.run(("PING",))
        if answer not in (b"PONG", True):  # redis-py says True
            raise CacheUnavailableError("the cache gave a strange answer")

    async def close(self) -> None:
        await uninterrupted(self._close())

    async def _close(self) -> None:
        self._broadcast.close()
        await self._listener.close()
        await self._client.close()

    async def _history(self) -> str:
        history = self._client.history
        return await self._client.connected() if history is None else history


def _open_client(address: RedisAddress, breaker: Breaker) -> RedisClient | ClusterClient:
    """Our one connection where it is faster and does what is asked for: to one server, whoever names it (ADR 0010)."""
    if address.kind != CLUSTER:
        return RedisClient(address, _LOAD, breaker)
    # imported here: one server needs no general client
    from app.infrastructure.cache.redis_cluster import ClusterClient

    return ClusterClient(address, _SCRIPTS, breaker)


def open_redis_cache(url: str) -> RedisCache:
    """No connection yet: a process starts, and serves, while Redis is down."""
    return RedisCache(parse_redis_address(url))


def _owned(user_id: str) -> bytes:
    owner = user_id.encode()
    return b"%d:%b\n" % (len(owner), owner)


def _own(generation: bytes, user_id: str, value: bytes | None) -> bytes | None:
    """The list without its header; None if there is none, or if it is somebody else's."""
    if value is None:
        return None
    start, owner = value.find(b" ", len(generation) + 1) + 1, _owned(user_id)
    return value[start + len(owner) :] if value.startswith(owner, start) else None


def _quota(limit: int, counted: Any) -> RateLimitStatus:
    allowed, remaining, reset_ms = counted
    return RateLimitStatus(limit, remaining, reset_ms / 1_000, bool(allowed))


def _chunks(user_ids: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(user_ids)
    while chunk := list(itertools.islice(rest, size)):
        yield chunk
