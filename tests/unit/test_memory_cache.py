"""The memory cache: bounds, clocks, and the promise about generations under any sequence of calls."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.infrastructure.cache.broadcast import Broadcast
from app.infrastructure.cache.memory_cache import MAX_VARIANTS, MemoryCache
from app.infrastructure.cache.sliding_window import GRANULE_BYTES, KEY_BYTES, MAX_GRANULES, SlidingWindows

MEGABYTE = 1_048_576


@dataclass
class FakeClock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_list_ends_exactly_with_its_jittered_time_to_live() -> None:
    clock = FakeClock()
    cache = MemoryCache(MEGABYTE, monotonic=clock, draw=lambda: 1.0)
    await cache.write("u1", "hybrid", 0, b"list", 100)

    clock.now += 109.9
    assert (await cache.read("u1", "hybrid", None)).value == b"list"
    clock.now += 0.1
    assert (await cache.read("u1", "hybrid", None)).value is None


async def test_the_jitter_also_shortens() -> None:
    clock = FakeClock()
    cache = MemoryCache(MEGABYTE, monotonic=clock, draw=lambda: 0.0)
    await cache.write("u1", "hybrid", 0, b"list", 100)

    clock.now += 90
    assert (await cache.read("u1", "hybrid", None)).value is None


async def test_the_user_not_asked_for_longest_goes_first() -> None:
    cache = MemoryCache(MEGABYTE)
    for user in ("a", "b", "c"):
        await cache.write(user, "hybrid", 0, bytes(300_000), 60)
    await cache.read("a", "hybrid", None)
    await cache.write("d", "hybrid", 0, bytes(300_000), 60)

    held = {user: (await cache.read(user, "hybrid", None)).value is not None for user in "abcd"}

    assert held == {"a": True, "b": False, "c": True, "d": True}


async def test_memory_stays_within_its_bound_and_is_all_given_back() -> None:
    cache = MemoryCache(MEGABYTE)
    for number in range(5_000):
        user = f"user-{number}"
        generation = (await cache.read(user, "hybrid", 500)).generation
        await cache.write(user, "hybrid", generation, bytes(2_000), 60)
        assert cache.size_bytes <= MEGABYTE + 3_000

    await cache.close()


async def test_events_of_people_nobody_asked_for_cost_no_memory_and_no_list() -> None:
    cache = MemoryCache(MEGABYTE)
    await cache.write("asked", "hybrid", 0, b"list", 60)
    late = (await cache.read("late", "hybrid", None)).generation
    before = cache.size_bytes

    await cache.bump([f"user-{number}" for number in range(10_000)])

    assert cache.size_bytes == before
    assert (await cache.read("asked", "hybrid", None)).value == b"list"
    assert await cache.write("late", "hybrid", late, b"list", 60)
    assert not await cache.write("user-7", "hybrid", 0, b"list", 60)


async def test_one_user_cannot_hold_endless_variants() -> None:
    cache = MemoryCache(MEGABYTE)
    for number in range(MAX_VARIANTS + 1):
        await cache.write("u1", str(number), 0, b"list", 60)

    assert (await cache.read("u1", "0", None)).value is None
    assert (await cache.read("u1", str(MAX_VARIANTS), None)).value == b"list"


Step = st.tuples(st.sampled_from(["read", "write", "bump"]), st.sampled_from("abc"), st.sampled_from(["x", "y"]))


_EVICTED_BETWEEN = [("read", "a", "x"), ("bump", "a", "x"), ("read", "b", "x"), ("write", "a", "x"), ("read", "a", "x")]


@settings(max_examples=200, deadline=None)
@example(steps=_EVICTED_BETWEEN, max_bytes=700)
@given(steps=st.lists(Step, max_size=60), max_bytes=st.sampled_from([700, 1_500, MEGABYTE]))
def test_a_list_computed_before_a_bump_is_never_returned_after_it(
    steps: list[tuple[str, str, str]], max_bytes: int
) -> None:
    """Values name how many bumps their user had seen when the computation began; small caches evict all the time."""

    async def scenario() -> None:
        cache = MemoryCache(max_bytes)
        bumps = dict.fromkeys("abc", 0)
        computing: dict[tuple[str, str], tuple[int, bytes]] = {}
        for action, user, variant in steps:
            if action == "bump":
                bumps[user] += 1
                await cache.bump([user])
            elif action == "read":
                reply = await cache.read(user, variant, None)
                assert reply.value in (None, str(bumps[user]).encode())
                computing.setdefault((user, variant), (reply.generation, str(bumps[user]).encode()))
            elif (user, variant) in computing:
                generation, value = computing.pop((user, variant))
                await cache.write(user, variant, generation, value, 60)

    asyncio.run(scenario())


def test_keys_that_fell_silent_cost_nothing() -> None:
    windows = SlidingWindows(MEGABYTE)
    for number in range(1_000):
        windows.hit(f"u{number}", 5, number * 1.0)

    assert windows.size_bytes < 70 * 1_000


def test_ten_thousand_hits_of_one_key_cost_as_much_as_one_a_second() -> None:
    windows = SlidingWindows(MEGABYTE)
    for number in range(10_000):
        windows.hit("service", 1_000_000, number * 0.006)

    assert windows.size_bytes <= KEY_BYTES + MAX_GRANULES * GRANULE_BYTES


def test_a_key_at_its_limit_is_remembered_while_thousands_of_others_come_and_go() -> None:
    """Exact windows of 32 bytes a hit forgot the limits of 4,400 requests a second and more."""
    windows = SlidingWindows(8 * MEGABYTE)
    for number in range(60_000):
        now = number / 1_200
        assert windows.hit("busy", 50, now).allowed == (number < 50)
        windows.hit(f"user-{number % 10_000}", 500, now)

    assert windows.size_bytes <= 8 * MEGABYTE


@pytest.mark.parametrize("granules", [1, 30])
def test_what_windows_say_they_hold_is_no_less_than_what_they_take(granules: int) -> None:
    tracemalloc.start()
    try:
        before, windows = tracemalloc.get_traced_memory()[0], SlidingWindows(64 * MEGABYTE)
        for granule in range(granules):
            for number in range(2_000):
                windows.hit(f"user:{number:0100}", 500, granule * 1.0)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert taken <= windows.size_bytes <= 2 * taken


async def test_a_listener_who_falls_behind_is_told_that_messages_were_lost() -> None:
    broadcast = Broadcast(max_waiting=3)
    listener = broadcast.listen()
    assert await anext(listener) is None

    broadcast.send(["a", "b", "c", "d"])
    broadcast.send(["e"])
    broadcast.close()

    assert [message async for message in listener] == [None]
