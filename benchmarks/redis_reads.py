"""What one process can ask of Redis: generation, 2 kB list and rate limit in one round trip, by 32 callers at once.

Beside it the same script through redis-py's connection pool, in the same run. Needs a Redis server (tests.servers).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import redis.asyncio
import uvloop

from app.infrastructure.cache import redis_scripts
from app.infrastructure.cache.redis_cache import open_redis_cache
from benchmarks.machine import report
from tests.servers.fleet import obtain

BENCHMARK = "redis_reads"
CALLERS, USERS, LIST_BYTES, SECONDS = 32, 1_000, 2_000, 5.0
LIMIT = 1_000_000
"""High, so that nothing is refused; the counting is the same."""


async def rate(ask: Callable[[str], Awaitable[object]]) -> float:
    """Answers a second."""
    asked = 0
    end = time.perf_counter() + SECONDS

    async def caller(number: int) -> None:
        nonlocal asked
        while time.perf_counter() < end:
            await ask(f"user-{number % USERS}")
            asked += 1
            number += CALLERS

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    return asked / SECONDS


async def measure(url: str) -> tuple[float, float]:
    """(our connection, a pool) in reads a second."""
    cache = open_redis_cache(url)
    for number in range(USERS):
        user_id = f"user-{number}"
        generation = (await cache.read(user_id, "v", None)).generation
        await cache.write(user_id, "v", generation, b"x" * LIST_BYTES, 600)
    ours = await rate(lambda user_id: cache.read(user_id, "v", LIMIT))
    await cache.close()

    pool = redis.asyncio.Redis.from_url(url, max_connections=CALLERS, retry=None, protocol=2)
    script = redis_scripts.digest(redis_scripts.READ)

    async def through_pool(user_id: str) -> object:
        place = f"{len(user_id)}:{user_id}:v"
        keys = (f"encore:g:{user_id}", f"encore:l:{place}", f"encore:w:{user_id}", f"encore:t:{place}")
        return await pool.evalsha(script, 4, *keys, LIMIT)

    theirs = await rate(through_pool)
    await pool.aclose()
    return ours, theirs


def main() -> None:
    """Print both rates."""
    server = obtain("redis")
    try:
        ours, theirs = uvloop.run(measure(server.url))
    finally:
        server.stop()
    report(BENCHMARK, "one connection", ours, "reads/s", callers=CALLERS, list_bytes=LIST_BYTES)
    report(BENCHMARK, "pool", theirs, "reads/s", callers=CALLERS, ratio=round(ours / theirs, 1))


if __name__ == "__main__":
    main()
