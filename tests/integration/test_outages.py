"""Short versions of rows of `python -m benchmarks.outages` and of `python -m benchmarks.stops`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from benchmarks.outages import USERS, aborted_row, frozen_row, redis_row
from tests.servers.world import Api, World

pytestmark = [pytest.mark.real_servers, pytest.mark.slow]


@pytest.fixture(scope="module")
def served(world: World) -> Iterator[Api]:
    """One process for all rows, with lists in its caches: each row leaves everything mended."""
    with Api(world, ENCORE_MAX_CONCURRENT_REQUESTS="256", ENCORE_RATE_LIMIT_PER_MINUTE="1000000") as api:
        for user in USERS[:30]:
            api.list_of(user)
        yield api


def test_a_cache_that_is_killed_and_then_frozen_under_load_fails_no_request(world: World, served: Api) -> None:
    """C2, two seconds each."""
    held, facts = asyncio.run(redis_row(world, served, 2.0))

    assert held, facts
    assert facts["statuses"].keys() == {"200"}  # type: ignore[attr-defined]  # JSON by now


def test_callers_who_hang_up_cost_the_others_nothing_that_lasts(world: World, served: Api) -> None:
    """D2, with three hundred of them."""
    held, facts = asyncio.run(aborted_row(world, served, 2.0, aborted=300))

    assert held, facts


def test_two_hundred_callers_of_a_frozen_database_leave_whole_connections(world: World, served: Api) -> None:
    """D1, two seconds; how long an answer takes is the business of test_degradation."""
    _, facts = asyncio.run(frozen_row(world, served, 4.0))

    assert set(facts["statuses"]) <= {"200", "503"}  # type: ignore[call-overload]  # JSON by now
    connections = facts["connections"]
    assert isinstance(connections, dict)
    assert set(connections) <= {"idle"}
    assert sum(connections.values()) <= 20
