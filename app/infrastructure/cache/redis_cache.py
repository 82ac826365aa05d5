"""The cache in Redis (or Valkey): lists, generations and rate limits shared by all processes.

Made for one server, with or without replicas, `maxmemory-policy allkeys-lru`; a script touches keys of different hash
slots, so not for Redis Cluster. Keep Celery's broker on another server or database group: its keys must not be evicted.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from typing import Any

from app.domain.exceptions import CacheUnavailableError
from app.domain.interfaces import Cache, CacheReply, RateLimitStatus
from app.infrastructure.breaker import Breaker
from app.infrastructure.cache import redis_scripts
from app.infrastructure.cache.broadcast import Broadcast
from app.infrastructure.cache.redis_address import RedisAddress, parse_redis_address
from app.infrastructure.cache.redis_client import RedisClient
from app.infrastructure.cache.redis_listener import RedisListener

TTL_JITTER = 0.1
BUMP_USERS = 500
"""Users per command and per message: some 20 kB, well within the timeout."""

_READ = redis_scripts.digest(redis_scripts.READ)
_WRITE = redis_scripts.digest(redis_scripts.WRITE)
_HIT = redis_scripts.digest(redis_scripts.HIT)
_RELEASE_LEASE = redis_scripts.digest(redis_scripts.RELEASE_LEASE)
_LOAD = [
    ("SCRIPT", "LOAD", script)
    for script in (redis_scripts.READ, redis_scripts.WRITE, redis_scripts.HIT, redis_scripts.RELEASE_LEASE)
]


class RedisCache(Cache):
    """Every call ends within the address's timeout; after five failures in a row most are refused without asking.

    The user's id is stored inside each list and compared on reading: whatever goes wrong between the key and the
    reply, nobody gets somebody else's list.
    """

    is_shared = True

    def __init__(
        self, address: RedisAddress, *, breaker: Breaker | None = None, draw: Callable[[], float] = random.random
    ) -> None:
        self._prefix = address.prefix
        self._draw = draw
        self._client = RedisClient(address, _LOAD, breaker or Breaker("cache"))
        # Channels are not per database, keys are.
        self._channel = f"{address.prefix}invalidations:{address.database}"
        self._broadcast = Broadcast()
        self._listener = RedisListener(address, self._channel, self._broadcast)

    async def read(self, user_id: str, variant: str, limit_per_minute: int | None, limit_key: str = "") -> CacheReply:
        [(generation, value, counted, turn)] = await self._client.run(
            (
                *("EVALSHA", _READ, 4),
                *(
                    self._generation_key(user_id),
                    self._list_key(user_id, variant),
                    self._limit_key(limit_key or f"user:{user_id}"),
                    self._lease_key(user_id, variant),
                ),
                "" if limit_per_minute is None else limit_per_minute,
            )
        )
        quota = None if counted is None or limit_per_minute is None else _quota(limit_per_minute, counted)
        return CacheReply(int(generation), _own(generation, user_id, value), quota, bool(turn))

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
        keys = (self._generation_key(user_id), self._list_key(user_id, variant), self._lease_key(user_id, variant))
        kept_ms = ttl_ms + int(stale_seconds * 1_000)
        [stored] = await self._client.run(
            ("EVALSHA", _WRITE, 3, *keys, generation, _owned(user_id) + value, ttl_ms, kept_ms)
        )
        return bool(stored)

    async def release_lease(self, user_id: str, variant: str, generation: int) -> None:
        await self._client.run(("EVALSHA", _RELEASE_LEASE, 1, self._lease_key(user_id, variant), generation))

    async def bump(self, user_ids: Collection[str]) -> None:
        for users in _chunks(user_ids, BUMP_USERS):
            # In this order: who hears the message and asks again finds the new generation.
            await self._client.run(
                ("UNLINK", *map(self._generation_key, users)),
                ("PUBLISH", self._channel, json.dumps(users)),
            )

    async def hit(self, limit_key: str, limit_per_minute: int, cost: int = 1) -> RateLimitStatus:
        [counted] = await self._client.run(("EVALSHA", _HIT, 1, self._limit_key(limit_key), limit_per_minute, cost))
        return _quota(limit_per_minute, counted)

    async def invalidations(self) -> AsyncIterator[str | None]:
        if not await self._listener.started():
            return
        async for user_id in self._broadcast.listen():
            yield user_id

    async def ping(self) -> None:
        [answer] = await self._client.run(("PING",))
        if answer != b"PONG":
            raise CacheUnavailableError("the cache gave a strange answer")

    async def close(self) -> None:
        self._broadcast.close()
        await self._listener.close()
        await self._client.close()

    def _generation_key(self, user_id: str) -> str:
        return f"{self._prefix}g:{user_id}"

    def _list_key(self, user_id: str, variant: str) -> str:
        # The length keeps (`a:b`, ``) and (`a`, `b:`) apart.
        return f"{self._prefix}l:{len(user_id)}:{user_id}:{variant}"

    def _lease_key(self, user_id: str, variant: str) -> str:
        return f"{self._prefix}t:{len(user_id)}:{user_id}:{variant}"

    def _limit_key(self, limit_key: str) -> str:
        return f"{self._prefix}w:{limit_key}"


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
