"""One suite for every cache: what a caller may rely on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.domain.interfaces import Cache
from app.infrastructure.cache import open_cache

REAL = ("redis", "redis_sentinel", "redis_cluster")


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.real_servers) for name in REAL)])
def cache_url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://"
    # Patient: this suite is not about time.
    return f"{request.getfixturevalue(f'{request.param}_url')}?timeout_ms=5000"


@pytest.fixture
async def cache(cache_url: str) -> AsyncIterator[Cache]:
    opened = await open_cache(cache_url, 1_048_576)
    yield opened
    await opened.close()


async def test_a_list_written_under_the_present_generation_is_found(cache: Cache) -> None:
    generation = (await cache.read("u1", "hybrid", None)).generation

    assert await cache.write("u1", "hybrid", generation, b"list", 60)

    assert (await cache.read("u1", "hybrid", None)).value == b"list"


async def test_users_and_variants_have_lists_of_their_own(cache: Cache) -> None:
    generation = (await cache.read("u1", "hybrid", None)).generation
    await cache.write("u1", "hybrid", generation, b"list", 60)

    assert (await cache.read("u1", "content", None)).value is None
    assert (await cache.read("u2", "hybrid", None)).value is None
    assert (await cache.read("u1:hybrid", "", None)).value is None


async def test_a_bump_hides_every_list_written_before(cache: Cache) -> None:
    before = (await cache.read("u1", "hybrid", None)).generation
    await cache.write("u1", "hybrid", before, b"old", 60)
    await cache.write("u1", "content", before, b"old", 60)

    await cache.bump(["u1", "u2"])

    after = await cache.read("u1", "hybrid", None)
    assert after.generation != before
    assert after.value is None
    assert (await cache.read("u1", "content", None)).value is None


async def test_a_list_computed_before_a_bump_cannot_be_written_after_it(cache: Cache) -> None:
    before = (await cache.read("u1", "hybrid", None)).generation
    await cache.bump(["u1"])

    assert not await cache.write("u1", "hybrid", before, b"old", 60)

    assert (await cache.read("u1", "hybrid", None)).value is None


async def test_the_list_of_a_user_survives_the_bump_of_another(cache: Cache) -> None:
    generation = (await cache.read("u1", "hybrid", None)).generation
    await cache.write("u1", "hybrid", generation, b"list", 60)

    await cache.bump(["u2"])

    assert (await cache.read("u1", "hybrid", None)).value == b"list"


async def test_a_second_write_replaces_the_first(cache: Cache) -> None:
    generation = (await cache.read("u1", "hybrid", None)).generation
    await cache.write("u1", "hybrid", generation, b"first", 60)
    await cache.write("u1", "hybrid", generation, b"second", 60)

    assert (await cache.read("u1", "hybrid", None)).value == b"second"


async def test_a_list_ends_with_its_time_to_live(cache: Cache) -> None:
    generation = (await cache.read("u1", "hybrid", None)).generation
    await cache.write("u1", "hybrid", generation, b"list", 0.05)

    await asyncio.sleep(0.1)

    assert (await cache.read("u1", "hybrid", None)).value is None


async def test_values_are_any_bytes(cache: Cache) -> None:
    generation = (await cache.read("ü:1 {x}", "hybrid", None)).generation
    value = bytes(range(256))

    assert await cache.write("ü:1 {x}", "hybrid", generation, value, 60)
    assert (await cache.read("ü:1 {x}", "hybrid", None)).value == value


async def test_reading_without_a_limit_counts_nothing(cache: Cache) -> None:
    assert (await cache.read("u1", "hybrid", None)).quota is None
    quota = (await cache.read("u1", "hybrid", 2)).quota

    assert quota is not None
    assert quota.remaining == 1


async def test_the_limit_is_exact_and_says_when_to_come_back(cache: Cache) -> None:
    quotas = [(await cache.read("u1", "hybrid", 3, "caller")).quota for _ in range(5)]

    assert [quota is not None and quota.allowed for quota in quotas] == [True, True, True, False, False]
    assert [quota.remaining for quota in quotas if quota is not None] == [2, 1, 0, 0, 0]
    refused = quotas[-1]
    assert refused is not None
    assert refused.limit == 3
    assert 0 < refused.reset_seconds <= 60


async def test_a_refused_request_still_gets_the_generation_and_the_list(cache: Cache) -> None:
    generation = (await cache.read("u1", "hybrid", 1)).generation
    await cache.write("u1", "hybrid", generation, b"list", 60)

    reply = await cache.read("u1", "hybrid", 1)

    assert reply.quota is not None
    assert not reply.quota.allowed
    assert reply.value == b"list"


async def test_hit_and_read_count_against_the_same_key(cache: Cache) -> None:
    await cache.hit("caller", 3)
    await cache.read("u1", "hybrid", 3, "caller")

    assert (await cache.hit("caller", 3)).remaining == 0
    assert not (await cache.hit("caller", 3)).allowed
    assert (await cache.hit("another", 3)).allowed


async def test_several_hits_are_counted_whole_or_not_at_all(cache: Cache) -> None:
    quotas = [await cache.hit("caller", 10, 4) for _ in range(3)]

    assert [(quota.allowed, quota.remaining) for quota in quotas] == [(True, 6), (True, 2), (False, 2)]
    assert (await cache.hit("caller", 10, 2)).remaining == 0
    assert not (await cache.hit("caller", 10)).allowed


async def test_more_hits_than_the_limit_are_never_allowed(cache: Cache) -> None:
    quota = await cache.hit("caller", 3, 4)

    assert (quota.allowed, quota.remaining, quota.reset_seconds) == (False, 3, 60.0)


async def test_fifty_requests_at_once_are_counted_one_by_one(cache: Cache) -> None:
    quotas = await asyncio.gather(*(cache.hit("caller", 20) for _ in range(50)))

    assert sum(quota.allowed for quota in quotas) == 20


async def test_a_listener_first_drops_everything_then_hears_of_every_bumped_user(cache: Cache) -> None:
    listener = cache.invalidations()
    async with asyncio.timeout(60):
        assert await anext(listener) is None

        await cache.bump(["u1", "u2"])

        assert {await anext(listener), await anext(listener)} == {"u1", "u2"}


async def test_two_listeners_hear_the_same(cache: Cache) -> None:
    first, second = cache.invalidations(), cache.invalidations()
    async with asyncio.timeout(60):
        assert await anext(first) is None
        assert await anext(second) is None

        await cache.bump(["u1"])

        assert await anext(first) == "u1"
        assert await anext(second) == "u1"


async def test_a_ping_answers(cache: Cache) -> None:
    await cache.ping()
