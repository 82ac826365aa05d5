"""Generation bumps: none is forgotten, whatever the cache does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from app.application.invalidation.generation_bumps import PendingBumps
from app.domain.exceptions import CacheUnavailableError
from app.infrastructure.cache.memory_cache import MemoryCache


class SlowCache(MemoryCache):
    """A memory cache whose bumps take effect at once and are answered when `answer` is set, or refused."""

    def __init__(self) -> None:
        super().__init__(1_000_000)
        self.answer = asyncio.Event()
        self.asked = 0
        self.is_refusing = False

    async def bump(self, user_ids: Collection[str]) -> None:
        if self.is_refusing:
            raise CacheUnavailableError("the cache is away")
        await super().bump(user_ids)
        self.asked += 1
        await self.answer.wait()

    async def generation(self, user_id: str) -> int:
        return (await self.read(user_id, "", None)).generation


async def flushing(bumps: PendingBumps, cache: SlowCache) -> asyncio.Task[bool]:
    """A flush that has reached the cache and waits for its answer."""
    before, task = cache.asked, asyncio.create_task(bumps.flush())
    while cache.asked == before:  # noqa: ASYNC110 - the cache counts, and tells nobody
        await asyncio.sleep(0)
    return task


async def test_a_user_touched_again_while_the_bump_is_under_way_is_bumped_again() -> None:
    """The event came after the bump took effect: a list made in between knows nothing of it."""
    cache = SlowCache()
    bumps = PendingBumps(cache)
    bumps.add({"u1"})
    first = await flushing(bumps, cache)
    made_in_between = await cache.generation("u1")

    bumps.add({"u1"})
    cache.answer.set()
    await first
    await bumps.flush()

    assert await cache.generation("u1") > made_in_between


async def test_a_flush_answers_only_when_its_users_are_bumped_whoever_bumps_them() -> None:
    cache = SlowCache()
    bumps = PendingBumps(cache)
    before = await cache.generation("u2")
    bumps.add({"u1"})
    first = await flushing(bumps, cache)

    bumps.add({"u2"})
    second = asyncio.create_task(bumps.flush())
    await asyncio.sleep(0.01)
    assert not second.done()
    cache.answer.set()

    assert all(await asyncio.gather(first, second))
    assert await cache.generation("u2") > before


async def test_a_flush_that_is_cancelled_forgets_nobody() -> None:
    cache = SlowCache()
    bumps = PendingBumps(cache)
    bumps.add({"u1"})
    task = await flushing(bumps, cache)

    task.cancel()
    await asyncio.wait({task})

    assert not bumps.is_clean
    cache.answer.set()
    assert await bumps.flush()


async def test_what_the_cache_refuses_waits_and_keeps_the_hint_back() -> None:
    cache = SlowCache()
    cache.answer.set()
    cache.is_refusing = True
    bumps = PendingBumps(cache)
    bumps.add({"u1"})

    assert await bumps.flush() is False
    cache.is_refusing = False
    assert await bumps.flush() is False  # not asked again before the pause is over
    async with asyncio.timeout(60):
        while not await bumps.flush():  # noqa: ASYNC110 - tried again as its callers do
            await asyncio.sleep(0.05)

    assert cache.asked == 1
