"""A list in the cache for each of a million people (C5): memory stays within what was configured, both adapters.

`python -m benchmarks.bounded_caches [--users 1000000] [--megabytes 64]`. Redis with `maxmemory` and `allkeys-lru`, as
the documents ask for. A line each; exit 1 if a bound did not hold, or a key would live for ever.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import redis.asyncio
import uvloop

from app.domain.interfaces import Cache
from app.infrastructure.cache import open_cache
from app.infrastructure.cache.memory_cache import MemoryCache
from benchmarks.machine import report, resident_bytes
from tests.servers.redis import start_redis

BENCHMARK = "bounded_caches"
LIST_BYTES = 1_000
TTL_SECONDS = 3_600.0
CALLERS = 32
TOLERANCE = 1.1
"""What C5 allows above the bound."""


async def fill(cache: Cache, users: int) -> int:
    """Read and write a list of each, as a miss does; the most bytes a cache of this process said that it holds."""
    most = 0

    async def caller(first: int) -> None:
        nonlocal most
        for number in range(first, users, CALLERS):
            user = f"user-{number}"
            generation = (await cache.read(user, "hybrid", 500)).generation
            await cache.write(user, "hybrid", generation, bytes(LIST_BYTES), TTL_SECONDS)
            if isinstance(cache, MemoryCache):
                most = max(most, cache.size_bytes)

    await asyncio.gather(*(caller(first) for first in range(CALLERS)))
    return most


async def memory_row(users: int, bound: int) -> bool:
    """The adapter in this process: what it counts, and what the process grew by."""
    cache, before = await open_cache("memory://", bound), resident_bytes(os.getpid())
    most = await fill(cache, users)
    grown = resident_bytes(os.getpid()) - before
    await cache.close()
    mib = {"bound_mib": bound >> 20, "process_grew_by_mib": grown >> 20}
    report(BENCHMARK, "memory: most bytes by the bound", most / bound, "ratio", users=users, **mib)
    return most <= TOLERANCE * bound


async def redis_row(url: str, users: int, bound: int) -> bool:
    """The server: its memory, what it evicted, and whether every key has a time to live."""
    cache = await open_cache(f"{url}?timeout_ms=1000", 0)
    most = 0

    async def watch() -> None:
        nonlocal most
        async with redis.asyncio.Redis.from_url(url) as client:
            while True:
                most = max(most, int((await client.info("memory"))["used_memory"]))
                await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch())
    await fill(cache, users)
    watching.cancel()
    await cache.close()
    async with redis.asyncio.Redis.from_url(url) as client:
        keys = int(await client.dbsize())
        evicted = int((await client.info("stats"))["evicted_keys"])
        expiring = int((await client.info("keyspace"))["db0"]["expires"])
    facts = {"users": users, "bound_mib": bound >> 20, "keys": keys, "evicted": evicted, "without_ttl": keys - expiring}
    report(BENCHMARK, "redis: most bytes by maxmemory", most / bound, "ratio", **facts)
    return most <= TOLERANCE * bound and keys == expiring


def main() -> int:
    """Exit 0 if both bounds held."""
    parser = argparse.ArgumentParser(prog="bounded_caches", description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--megabytes", type=int, default=64)
    given = parser.parse_args()
    bound = given.megabytes << 20
    is_bounded = uvloop.run(memory_row(given.users, bound))
    server = start_redis("--maxmemory", str(bound), "--maxmemory-policy", "allkeys-lru")
    try:
        return 0 if uvloop.run(redis_row(server.url, given.users, bound)) and is_bounded else 1
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
