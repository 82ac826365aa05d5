"""The cache port's adapters: process memory by default, Redis in production."""

from __future__ import annotations

from urllib.parse import urlsplit

from app.domain.exceptions import ConfigurationError
from app.domain.interfaces import Cache


async def open_cache(url: str, max_bytes: int) -> Cache:
    """Open the cache of a URL: `memory://`, or `redis[s][+sentinel|+cluster]://…` (redis_address.py).

    `max_bytes` bounds the memory adapter.
    """
    match urlsplit(url).scheme:
        case "memory":
            from app.infrastructure.cache.memory_cache import MemoryCache

            return MemoryCache(max_bytes)
        case "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel" | "redis+cluster" | "rediss+cluster":
            from app.infrastructure.cache.redis_cache import open_redis_cache

            return open_redis_cache(url)
        case _:
            raise ConfigurationError(
                "ENCORE_CACHE_URL", "the scheme must be memory, or redis[s] with +sentinel, +cluster or nothing"
            )
