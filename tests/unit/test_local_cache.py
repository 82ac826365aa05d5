"""The nearest cache: bounded, short-lived, and deaf to lists that were begun too early."""

from __future__ import annotations

import asyncio

import pytest

from app.application.recommending.local_cache import MAX_REMEMBERED_DROPS, MAX_VARIANTS, LocalListCache
from app.application.recommending.scoring_pool import ScoringPool
from app.application.recommending.single_flight import SingleFlight
from app.domain.exceptions import OverloadedError
from app.domain.ranked_list import RankedList

LIST = RankedList(0.0, 1e12)


def test_a_list_lives_for_its_time() -> None:
    now = [0.0]
    memory = LocalListCache(100_000, 30, monotonic=lambda: now[0])
    memory.put("u1", "hybrid", 1, LIST, 0)

    now[0] = 29.9
    assert memory.get("u1", "hybrid") is not None
    now[0] = 30.0
    assert memory.get("u1", "hybrid") is None
    assert memory.size_bytes == 0


def test_a_list_begun_before_its_user_was_dropped_is_not_kept() -> None:
    memory = LocalListCache(100_000, 30)
    before = memory.dropped("u1")
    memory.drop("u1")

    memory.put("u1", "hybrid", 1, LIST, before)
    memory.put("u2", "hybrid", 1, LIST, before)

    assert memory.get("u1", "hybrid") is None
    assert memory.get("u2", "hybrid") is not None


def test_what_was_begun_before_a_drop_nobody_remembers_is_not_kept_either() -> None:
    memory = LocalListCache(100_000, 30)
    before = memory.dropped("u1")
    memory.drop("u1")
    for number in range(MAX_REMEMBERED_DROPS):
        memory.drop(f"other-{number}")

    memory.put("u1", "hybrid", 1, LIST, before)

    assert memory.get("u1", "hybrid") is None


def test_clearing_forgets_everything_and_what_is_under_way() -> None:
    memory = LocalListCache(100_000, 30)
    before = memory.dropped("u1")
    memory.put("u1", "hybrid", 1, LIST, before)
    memory.clear()
    memory.put("u1", "hybrid", 1, LIST, before)

    assert memory.get("u1", "hybrid") is None
    assert memory.size_bytes == 0


def test_bytes_and_variants_are_bounded() -> None:
    memory = LocalListCache(100_000, 30)
    for number in range(1_000):
        memory.put(f"u{number}", "hybrid", 1, LIST, 0)
        assert memory.size_bytes <= 100_000
    memory.clear()
    for number in range(MAX_VARIANTS + 1):
        memory.put("u1", str(number), 1, LIST, memory.dropped("u1"))

    assert memory.get("u1", "0") is None
    assert memory.get("u1", str(MAX_VARIANTS)) is not None


async def test_all_who_ask_while_it_runs_share_one_computation() -> None:
    flight: SingleFlight[str, int] = SingleFlight(10)
    calls = 0

    async def compute() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        return calls

    assert await asyncio.gather(*(flight.get("key", compute) for _ in range(1_000))) == [1] * 1_000
    assert await flight.get("key", compute) == 2


async def test_a_waiter_who_gives_up_does_not_stop_it_for_the_others() -> None:
    flight: SingleFlight[str, str] = SingleFlight(10)
    started = asyncio.Event()

    async def compute() -> str:
        started.set()
        await asyncio.sleep(0.02)
        return "made"

    first = asyncio.create_task(flight.get("key", compute))
    await started.wait()
    second = asyncio.create_task(flight.get("key", compute))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == "made"
    assert first.cancelled()
    assert len(flight) == 0


async def test_an_error_goes_to_everybody_and_the_next_one_tries_again() -> None:
    flight: SingleFlight[str, str] = SingleFlight(10)

    async def fail() -> str:
        await asyncio.sleep(0)
        raise KeyError

    async def work() -> str:
        return "made"

    failures = await asyncio.gather(*(flight.get("key", fail) for _ in range(3)), return_exceptions=True)

    assert [type(failure) for failure in failures] == [KeyError] * 3
    assert await flight.get("key", work) == "made"


async def test_more_keys_than_may_be_computed_at_once_are_shed() -> None:
    flight: SingleFlight[str, bool] = SingleFlight(1)
    release = asyncio.Event()
    first = asyncio.create_task(flight.get("a", release.wait))
    await asyncio.sleep(0)

    with pytest.raises(OverloadedError):
        await flight.get("b", release.wait)

    release.set()
    assert await first
    assert await flight.get("b", release.wait)


async def test_the_pool_sheds_what_does_not_fit_and_takes_work_again_after() -> None:
    pool = ScoringPool(1, 2)
    waiting = [asyncio.create_task(pool.run(sum, [1, number])) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await pool.run(sum, [])

    assert await asyncio.gather(*waiting) == [1, 2]
    await asyncio.sleep(0)
    assert await pool.run(sum, [1, 2, 3]) == 6
    pool.close()
