"""The Redis cache against a real server: exact, never somebody else's, and quick to give up."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest
import redis
import redis.asyncio

from app.domain.exceptions import CacheUnavailableError
from app.domain.interfaces import Cache
from app.infrastructure.breaker import Breaker
from app.infrastructure.cache import open_cache
from app.infrastructure.cache.redis_address import parse_redis_address
from app.infrastructure.cache.redis_cache import RedisCache
from app.infrastructure.cache.redis_connection import MAX_IN_FLIGHT
from tests.servers.server import Server

pytestmark = pytest.mark.real_servers


@pytest.fixture
def patient_url(redis_url: str) -> str:
    """For tests that are not about time: a busy machine must not make them fail."""
    return f"{redis_url}?timeout_ms=5000"


@pytest.fixture
async def cache(patient_url: str) -> AsyncIterator[Cache]:
    opened = await open_cache(patient_url, 0)
    yield opened
    await opened.close()


@pytest.fixture
async def doomed(own_redis: Server) -> AsyncIterator[Cache]:
    """A cache whose server may be broken; its breaker pauses 0.3 s."""
    opened = RedisCache(parse_redis_address(own_redis.url), breaker=Breaker("cache", pause_seconds=0.3))
    yield opened
    await opened.close()


async def fill(cache: Cache, user_id: str, value: bytes) -> None:
    generation = (await cache.read(user_id, "v", None)).generation
    assert await cache.write(user_id, "v", generation, value, 60)


# ── exact ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_five_hundred_a_minute_is_exact_across_two_processes(patient_url: str) -> None:
    caches = [await open_cache(patient_url, 0) for _ in range(2)]

    quotas = [
        quota
        for _ in range(7)
        for quota in await asyncio.gather(*(cache.hit("u1", 500) for cache in caches for _ in range(50)))
    ]

    assert len(quotas) == 700
    assert sum(quota.allowed for quota in quotas) == 500
    assert (await caches[0].hit("u2", 500)).remaining == 499
    for cache in caches:
        await cache.close()


async def test_a_request_counts_until_a_minute_after_it_was_allowed(cache: Cache, redis_url: str) -> None:
    """The server's clock cannot be turned: the stored seconds are set back instead."""
    for _ in range(3):
        await cache.hit("u1", 3)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert not (await cache.hit("u1", 3)).allowed
        seconds, microseconds = await client.time()
        now = seconds * 1_000 + microseconds // 1_000
        hits = [now - age for age in (60_000, 50_000, 40_000)]
        fields: list[str | int] = ["used", 3, "oldest", hits[0] // 1_000]
        for hit in hits:
            fields += [hit // 1_000, 1_000 + hit % 1_000]
        await client.delete("encore:w:u1")
        await client.execute_command("HSET", "encore:w:u1", *fields)  # type: ignore[no-untyped-call]  # redis-py has no types for it

    first, second = await cache.hit("u1", 3), await cache.hit("u1", 3)

    assert (first.allowed, second.allowed) == (True, False)
    assert 5 < second.reset_seconds <= 10


async def test_no_key_lives_for_ever(cache: Cache, redis_url: str) -> None:
    await cache.read("u1", "v", 10)
    await fill(cache, "u2", b"list")
    await cache.hit("caller", 10)
    await cache.bump(["u3"])

    async with redis.asyncio.Redis.from_url(redis_url) as client:
        lives = {key: await client.pttl(key) async for key in client.scan_iter("*")}

    names = {b"g:u1", b"w:user:u1", b"t:2:u1:v", b"g:u2", b"l:2:u2:v", b"w:caller"}
    assert set(lives) == {b"encore:" + name for name in names}
    assert all(0 < life <= 600_000 for life in lives.values())


async def test_a_generation_lives_at_least_as_long_as_its_lists(cache: Cache, redis_url: str) -> None:
    generation = (await cache.read("u1", "v", None)).generation
    await cache.write("u1", "v", generation, b"list", 3_600)
    await cache.write("u1", "w", generation, b"list", 10)

    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.pttl("encore:g:u1") >= await client.pttl("encore:l:2:u1:v") - 1_000 > 3_000_000


async def test_times_to_live_are_spread_by_a_tenth(redis_url: str, patient_url: str) -> None:
    draws = iter([0.0, 0.999999])
    cache = RedisCache(parse_redis_address(patient_url), draw=lambda: next(draws))
    await fill(cache, "u1", b"list")
    await fill(cache, "u2", b"list")

    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.pttl("encore:l:2:u1:v") == pytest.approx(54_000, abs=500)
        assert await client.pttl("encore:l:2:u2:v") == pytest.approx(66_000, abs=500)
    await cache.close()


async def test_a_lost_generation_is_as_good_as_a_bump(cache: Cache, redis_url: str) -> None:
    before = (await cache.read("u1", "v", None)).generation
    await cache.write("u1", "v", before, b"old", 60)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.delete("encore:g:u1")

    assert not await cache.write("u1", "v", before, b"old", 60)
    assert (await cache.read("u1", "v", None)).value is None


async def test_a_read_costs_one_round_trip(cache: Cache, redis_url: str) -> None:
    await cache.read("u1", "v", 10)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        before = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        commands = (await client.info("stats"))["total_reads_processed"]
        await cache.read("u1", "v", 10)
        after = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        # One read for the command under test and one for each of the two questions in between.
        assert (await client.info("stats"))["total_reads_processed"] - commands == 3
    assert after - before == 1


# ── one computes for all ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def other(patient_url: str) -> AsyncIterator[Cache]:
    """The same cache as another process sees it."""
    opened = await open_cache(patient_url, 0)
    yield opened
    await opened.close()


async def test_of_many_who_miss_a_list_one_has_the_turn(cache: Cache, other: Cache) -> None:
    replies = await asyncio.gather(*((cache, other)[n % 2].read("u1", "v", None) for n in range(100)))

    assert sum(reply.has_lease for reply in replies) == 1
    assert (await cache.read("u1", "w", None)).has_lease
    assert (await cache.read("u2", "v", None)).has_lease
    await fill(other, "u1", b"list")
    assert not (await cache.read("u1", "v", None)).has_lease


async def test_a_turn_ends_when_it_is_given_up_or_after_a_bump(cache: Cache, other: Cache) -> None:
    generation = (await cache.read("u1", "v", None)).generation
    assert not (await other.read("u1", "v", None)).has_lease
    await cache.release_lease("u1", "v", generation)
    assert (await other.read("u1", "v", None)).has_lease

    await cache.bump(["u1"])

    assert (await cache.read("u1", "v", None)).has_lease
    await other.release_lease("u1", "v", generation)  # that of the generation before: nothing to end
    assert not (await other.read("u1", "v", None)).has_lease


async def test_the_turn_of_a_process_that_died_ends_by_itself(cache: Cache, other: Cache) -> None:
    await cache.read("u1", "v", None)

    async with asyncio.timeout(60):
        while not (await other.read("u1", "v", None)).has_lease:  # noqa: ASYNC110 - as another request would
            await asyncio.sleep(0.05)


async def test_who_may_not_ask_has_no_turn(cache: Cache) -> None:
    assert (await cache.read("u1", "v", 1, "caller")).has_lease
    refused = await cache.read("u1", "w", 1, "caller")

    assert (refused.quota and refused.quota.allowed, refused.has_lease) == (False, False)


async def test_a_stale_list_is_given_to_all_while_one_renews_it_and_never_after_a_bump(
    cache: Cache, other: Cache
) -> None:
    generation = (await cache.read("u1", "v", None)).generation
    await cache.write("u1", "v", generation, b"old", 0.001, stale_seconds=60)
    await asyncio.sleep(0.05)

    replies = [await each.read("u1", "v", None) for each in (cache, other, cache)]

    assert [(reply.value, reply.has_lease) for reply in replies] == [(b"old", True), (b"old", False), (b"old", False)]
    await cache.write("u1", "v", generation, b"new", 60, stale_seconds=60)
    renewed = await other.read("u1", "v", None)
    assert (renewed.value, renewed.has_lease) == (b"new", False)
    await other.bump(["u1"])
    assert (await cache.read("u1", "v", None)).value is None


# ── never somebody else's ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_list_under_the_wrong_key_is_not_given_out(cache: Cache, redis_url: str) -> None:
    generation = (await cache.read("u1", "v", None)).generation
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        for wrong in (b"%d 9999999999999 2:u2\nlist of u2", b"%d 2:u1\nlist without an end", b"%d ", b""):
            await client.set("encore:l:2:u1:v", wrong % generation if wrong else wrong)

            assert (await cache.read("u1", "v", None)).value is None


async def test_cancelled_commands_never_mix_up_answers(cache: Cache) -> None:
    """C3: 20,000 reads, 40 % of them cancelled at random moments; every answer belongs to who asked."""
    users = [f"u{number}" for number in range(50)]
    for user in users:
        await fill(cache, user, f"list of {user}".encode())
    draw = random.Random(7)
    cancelled = wrong = answered = 0

    for _ in range(200):
        asked = {asyncio.create_task(cache.read(user, "v", None)): user for user in draw.choices(users, k=100)}
        await asyncio.sleep(draw.choice([0, 0, 0.0005, 0.001]))
        for task in draw.sample(list(asked), 40):
            task.cancel()
        replies = await asyncio.gather(*asked, return_exceptions=True)
        for user, reply in zip(asked.values(), replies, strict=True):
            if isinstance(reply, asyncio.CancelledError):
                cancelled += 1
            else:
                answered += 1
                wrong += isinstance(reply, BaseException) or reply.value != f"list of {user}".encode()

    assert wrong == 0
    assert cancelled > 2_000
    assert answered >= 12_000


async def test_more_commands_at_once_than_the_connection_takes_are_refused_not_queued(cache: Cache) -> None:
    await cache.ping()
    replies = await asyncio.gather(
        *(cache.read("u1", "v", None) for _ in range(MAX_IN_FLIGHT + 4)), return_exceptions=True
    )

    assert sum(isinstance(reply, CacheUnavailableError) for reply in replies) == 4


# ── quick to give up ─────────────────────────────────────────────────────────────────────────────────────────────────


async def fail_all(cache: Cache, count: int) -> None:
    """Ask `count` times in a row; all are refused."""
    for _ in range(count):
        with pytest.raises(CacheUnavailableError):
            await cache.read("u1", "v", 500)


def fails_without_waiting(cache: Cache) -> bool:
    """Whether a refusal comes before the event loop has had a turn."""
    reading = cache.read("u1", "v", 500)
    try:
        reading.send(None)
    except CacheUnavailableError:
        return True
    finally:
        reading.close()
    return False


async def until_it_answers(cache: Cache, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await cache.ping()
            except CacheUnavailableError:
                await asyncio.sleep(0.02)


async def test_a_frozen_server_costs_one_timeout_until_the_breaker_opens(doomed: Cache, own_redis: Server) -> None:
    await fill(doomed, "u1", b"list")
    own_redis.control.pause()

    await fail_all(doomed, 5)

    # a probe now and then may wait; the others do not
    assert sum(fails_without_waiting(doomed) for _ in range(50)) >= 45
    own_redis.control.resume()
    await until_it_answers(doomed, 60)
    assert (await doomed.read("u1", "v", None)).value == b"list"


async def test_all_who_wait_on_a_frozen_server_are_answered_together(doomed: Cache, own_redis: Server) -> None:
    await doomed.ping()
    own_redis.control.pause()
    async with asyncio.timeout(5):  # one after the other: 200 times 50 ms
        replies = await asyncio.gather(*(doomed.read("u1", "v", None) for _ in range(200)), return_exceptions=True)

    assert all(isinstance(reply, CacheUnavailableError) for reply in replies)
    own_redis.control.resume()


async def test_a_killed_server_is_noticed_at_once_and_found_again(doomed: Cache, own_redis: Server) -> None:
    await fill(doomed, "u1", b"list")
    own_redis.control.kill()

    await fail_all(doomed, 20)

    own_redis.control.restart()
    await until_it_answers(doomed, 60)
    assert (await doomed.read("u1", "v", 500)).value is None  # it came back empty: scripts are loaded anew


async def test_a_process_starts_while_the_server_is_down(own_redis: Server) -> None:
    own_redis.control.kill()
    cache = RedisCache(parse_redis_address(own_redis.url), breaker=Breaker("cache", pause_seconds=0.1))
    with pytest.raises(CacheUnavailableError):
        await cache.ping()

    own_redis.control.restart()

    await until_it_answers(cache, 60)
    await cache.close()


async def test_scripts_that_were_flushed_are_loaded_again(cache: Cache, redis_url: str) -> None:
    await fill(cache, "u1", b"list")
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.script_flush()

    with pytest.raises(CacheUnavailableError):
        await cache.read("u1", "v", None)
    assert (await cache.read("u1", "v", None)).value == b"list"


async def test_a_stall_of_our_own_loop_is_not_taken_for_a_frozen_server(redis_url: str) -> None:
    cache = await open_cache(redis_url, 0)
    await cache.ping()
    asked = asyncio.create_task(cache.read("u1", "v", None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(0.12)  # noqa: ASYNC251 - the stall under test

    assert (await asked).value is None
    await cache.close()


async def test_a_closed_cache_refuses(cache: Cache) -> None:
    await cache.close()

    with pytest.raises(CacheUnavailableError):
        await cache.ping()


async def test_a_wrong_password_is_unavailable_without_an_echo(redis_url: str) -> None:
    cache = await open_cache(redis_url.replace("redis://", "redis://someone:s3cret@"), 0)

    with pytest.raises(CacheUnavailableError) as caught:
        await cache.ping()
    assert "s3cret" not in str(caught.value) + str(caught.value.__cause__)
    await cache.close()


# ── invalidations ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_bump_in_one_process_is_heard_in_another(patient_url: str) -> None:
    here, there = await open_cache(patient_url, 0), await open_cache(patient_url, 0)
    listener = there.invalidations()
    async with asyncio.timeout(60):
        assert await anext(listener) is None
        await here.bump([f"u{number}" for number in range(1_200)])
        heard = {await anext(listener) for _ in range(1_200)}

    assert heard == {f"u{number}" for number in range(1_200)}
    await here.close()
    await there.close()


@pytest.mark.parametrize("fault", ["frozen", "killed"])
async def test_after_a_gap_a_listener_is_told_to_drop_everything(doomed: Cache, own_redis: Server, fault: str) -> None:
    listener = doomed.invalidations()
    async with asyncio.timeout(60):
        assert await anext(listener) is None
        own_redis.control.pause() if fault == "frozen" else own_redis.control.kill()
        await asyncio.sleep(1.5)  # longer than it takes to notice
        own_redis.control.resume() if fault == "frozen" else own_redis.control.restart()
        await until_it_answers(doomed, 60)
        assert await anext(listener) is None
        await doomed.bump(["u1"])
        assert await anext(listener) == "u1"


async def test_a_listener_ends_when_the_cache_is_closed_even_before_the_server_was_found(own_redis: Server) -> None:
    own_redis.control.kill()
    cache = await open_cache(own_redis.url, 0)
    listening = asyncio.create_task(_all(cache.invalidations()))
    await asyncio.sleep(0.05)

    await cache.close()

    async with asyncio.timeout(60):
        assert await listening in ([], [None])


async def _all(listener: AsyncIterator[str | None]) -> list[str | None]:
    return [message async for message in listener]
