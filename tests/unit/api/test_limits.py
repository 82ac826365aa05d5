"""Requests a minute, and requests at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.api.limits import ConcurrencyLimiter, RateLimiter, quota_headers
from app.domain.exceptions import CacheUnavailableError, OverloadedError, RateLimitedError
from app.domain.interfaces import Cache, RateLimitStatus
from app.infrastructure.cache import open_cache


@pytest.fixture
async def cache() -> AsyncIterator[Cache]:
    cache = await open_cache("memory://", max_bytes=1_048_576)
    yield cache
    await cache.close()


class Away:
    """Stands where a cache is that does not answer; embedded adapters cannot be away."""

    async def hit(self, limit_key: str, limit_per_minute: int, cost: int = 1) -> RateLimitStatus:
        raise CacheUnavailableError("away")


async def test_people_and_services_have_their_own_limits(cache: Cache) -> None:
    limiter = RateLimiter(cache, person=2, service=3)
    for left in (1, 0):
        assert (await limiter.hit("user:u1")).remaining == left
    with pytest.raises(RateLimitedError) as refused:
        await limiter.hit("user:u1")
    assert 0 < refused.value.retry_after_seconds <= 60
    assert (await limiter.hit("user:u2")).remaining == 1
    assert (await limiter.hit("key:svc", is_service=True)).remaining == 2


async def test_without_a_cache_requests_are_counted_here_and_it_says_so() -> None:
    now = [0.0]
    limiter = RateLimiter(Away(), person=2, service=3, monotonic=lambda: now[0])  # type: ignore[arg-type]  # see Away
    await limiter.hit("user:u1")
    await limiter.hit("user:u1")
    assert limiter.is_degraded
    with pytest.raises(RateLimitedError):
        await limiter.hit("user:u1")
    now[0] = 60.0
    await limiter.hit("user:u1")


async def test_while_the_cache_is_away_each_replica_allows_its_share_rounded_up() -> None:
    limiter = RateLimiter(Away(), person=500, service=500, replicas=3)  # type: ignore[arg-type]  # see Away

    for _ in range(167):
        await limiter.hit("u1")

    with pytest.raises(RateLimitedError):
        await limiter.hit("u1")


async def test_an_address_that_used_up_its_requests_is_refused_without_asking_the_cache(cache: Cache) -> None:
    now = [0.0]
    limiter = RateLimiter(cache, person=2, service=3, monotonic=lambda: now[0])
    await limiter.hit_stranger("10.0.0.1")
    await limiter.hit_stranger("10.0.0.1")
    assert not limiter.is_blocked("10.0.0.1")
    with pytest.raises(RateLimitedError):
        await limiter.hit_stranger("10.0.0.1")
    assert limiter.is_blocked("10.0.0.1")
    await limiter.hit_stranger("10.0.0.2")
    now[0] = 61.0
    assert not limiter.is_blocked("10.0.0.1")


def test_the_headers_name_the_policy_and_what_is_left() -> None:
    assert quota_headers(RateLimitStatus(500, 499, 59.2, allowed=True)) == [
        (b"ratelimit-policy", b'"default";q=500;w=60'),
        (b"ratelimit", b'"default";r=499;t=60'),
    ]


async def test_places_are_taken_given_back_and_shed_fast_when_there_are_none() -> None:
    admission = ConcurrencyLimiter(4)
    for _ in range(4):
        await admission.enter(is_user_read=True)
    started = asyncio.get_running_loop().time()
    with pytest.raises(OverloadedError) as shed:
        await admission.enter(is_user_read=True)
    assert asyncio.get_running_loop().time() - started < 0.5
    assert shed.value.retry_after_seconds >= 1
    for _ in range(4):
        admission.leave()
    await admission.enter(is_user_read=False)
    assert admission.taken == 1


async def test_the_last_places_are_for_reads_of_users_lists() -> None:
    admission = ConcurrencyLimiter(4)
    for _ in range(3):
        await admission.enter(is_user_read=False)
    with pytest.raises(OverloadedError):
        await admission.enter(is_user_read=False)
    await admission.enter(is_user_read=True)


async def test_a_waiting_request_goes_on_as_soon_as_a_place_is_free() -> None:
    admission = ConcurrencyLimiter(1)
    await admission.enter(is_user_read=True)
    waiting = asyncio.create_task(admission.enter(is_user_read=True))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    admission.leave()
    await waiting


async def test_who_gives_up_waiting_leaves_the_queue() -> None:
    admission = ConcurrencyLimiter(1)
    await admission.enter(is_user_read=True)
    waiting = asyncio.create_task(admission.enter(is_user_read=True))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    admission.leave()
    await admission.enter(is_user_read=True)
