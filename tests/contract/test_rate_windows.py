"""One suite for what counts hits: the window in memory and the script in Redis, under our clock, against a model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.infrastructure.cache.redis_scripts import HIT
from app.infrastructure.cache.sliding_window import SlidingWindows

Answer = tuple[bool, int, int]
"""allowed, remaining, milliseconds until reset"""

Count = Callable[[str, int, int, int], Answer]
"""(key, limit, hits, now in ms) → what the adapter says"""

START = 1_700_000_000_000
WINDOW, GRANULE = 60_000, 1_000
ONCE = itertools.count()


def in_memory(key: str, limit: int, hits: int, now: int, windows: SlidingWindows = SlidingWindows(1 << 30)) -> Answer:  # noqa: B008  # one for all
    quota = windows.hit(key, limit, now / 1_000, hits)
    return quota.allowed, quota.remaining, round(quota.reset_seconds * 1_000)


@pytest.fixture(scope="module", params=["memory", pytest.param("redis", marks=pytest.mark.real_servers)])
def count(request: pytest.FixtureRequest) -> Iterator[Count]:
    if request.param == "memory":
        yield in_memory
        return
    with redis.Redis.from_url(request.getfixturevalue("redis_server").url) as client:
        script = client.register_script(
            HIT.replace("redis.call('TIME')", "{math.floor(ARGV[3] / 1000), ARGV[3] % 1000 * 1000}")
        )

        client.ping()  # its connection belongs to the module, not to the first test

        def in_redis(key: str, limit: int, hits: int, now: int) -> Answer:
            allowed, remaining, reset = script(keys=[f"test:w:{key}"], args=[limit, hits, now])
            return bool(allowed), remaining, reset

        yield in_redis


class Model:
    """Every allowed hit by itself: it counts until 60 s after the latest hit of the second it came in."""

    def __init__(self) -> None:
        self.allowed: list[int] = []

    def hit(self, limit: int, hits: int, now: int) -> Answer:
        latest = {time // GRANULE: time for time in sorted(self.allowed)}
        ends = sorted(
            latest[time // GRANULE] + WINDOW for time in self.allowed if latest[time // GRANULE] + WINDOW > now
        )
        if len(ends) + hits <= limit:
            self.allowed += [now] * hits
            second = now // GRANULE  # this second's hits now end with this one
            ends = sorted(max(end, now + WINDOW) if (end - WINDOW) // GRANULE == second else end for end in ends)
            return True, limit - len(ends) - hits, (ends[0] if ends else now + WINDOW) - now
        missing = len(ends) + hits - limit
        return False, limit - len(ends), ends[missing - 1] - now if missing <= len(ends) else WINDOW


GAPS = st.one_of(st.integers(0, 400), st.integers(0, 40_000), st.just(WINDOW), st.just(GRANULE))
STEPS = st.lists(st.tuples(GAPS, st.integers(1, 4)), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, limit=st.integers(1, 9))
def test_the_window_does_what_its_exactness_says(count: Count, steps: list[tuple[int, int]], limit: int) -> None:
    model, key, now = Model(), f"u{next(ONCE)}", START
    for gap, hits in steps:
        now += gap
        assert count(key, limit, hits, now) == model.hit(limit, hits, now)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, limit=st.integers(1, 9))
def test_no_sixty_seconds_hold_more_than_the_limit_and_nothing_is_refused_a_second_longer(
    count: Count, steps: list[tuple[int, int]], limit: int
) -> None:
    key, now = f"v{next(ONCE)}", START
    allowed: list[int] = []
    for gap, hits in steps:
        now += gap
        within = sum(time > now - WINDOW for time in allowed)
        within_and_a_second = sum(time > now - WINDOW - GRANULE for time in allowed)
        is_allowed = count(key, limit, hits, now)[0]
        assert not (is_allowed and within + hits > limit)
        assert is_allowed or within_and_a_second + hits > limit
        allowed += [now] * (hits * is_allowed)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, limit=st.integers(4, 9))
def test_what_was_refused_is_allowed_after_the_promised_wait_and_not_before(
    count: Count, steps: list[tuple[int, int]], limit: int
) -> None:
    key, now = f"w{next(ONCE)}", START
    for gap, hits in steps:
        now += gap
        is_allowed, _remaining, wait = count(key, limit, hits, now)
        if not is_allowed:
            assert not count(key, limit, hits, now + wait - 1)[0]
            assert count(key, limit, hits, now + wait)[0]
            now += wait


def test_hits_far_apart_are_counted_exactly(count: Count) -> None:
    key = f"x{next(ONCE)}"
    assert count(key, 1, 1, START + 10_400) == (True, 0, 60_000)
    assert count(key, 1, 1, START + 25_000) == (False, 0, 45_400)
    assert count(key, 1, 1, START + 70_399)[0] is False
    assert count(key, 1, 1, START + 70_400)[0] is True
