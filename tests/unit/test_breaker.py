"""The breaker: when it opens, whom it lets through, what closes it."""

from __future__ import annotations

import pytest

from app.infrastructure.breaker import Breaker
from app.telemetry import REGISTRY


class Clock:
    """Seconds that move when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("thing", failures=3, pause_seconds=2, monotonic=clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert breaker.admits()
        breaker.failed()


def test_it_opens_after_so_many_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert breaker.admits()
    breaker.failed()

    assert breaker.is_open
    assert not breaker.admits()
    assert REGISTRY.get_sample_value("encore_breaker_open", {"dependency": "thing"}) == 1


def test_a_success_in_between_starts_the_count_again(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)

    assert not breaker.is_open


def test_after_the_pause_one_call_probes_and_the_others_wait(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 2.0

    assert [breaker.admits() for _ in range(4)] == [True, False, False, False]


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 2.0
    assert breaker.admits()
    breaker.succeeded()

    assert [breaker.admits() for _ in range(3)] == [True, True, True]
    assert REGISTRY.get_sample_value("encore_breaker_open", {"dependency": "thing"}) == 0


def test_a_probe_that_fails_means_another_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 2.0
    assert breaker.admits()
    clock.now = 2.5
    breaker.failed()
    clock.now = 4.4
    assert not breaker.admits()
    clock.now = 4.5
    assert breaker.admits()


def test_a_probe_that_never_reports_back_blocks_nobody_for_longer_than_a_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 2.0
    assert breaker.admits()
    clock.now = 4.0

    assert breaker.admits()
