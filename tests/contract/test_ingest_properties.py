"""Any permutation and duplication of the same events, cut into any batches, ends in the same state (E6).

ENCORE_TEST_EXAMPLES sets how many examples are tried: 100 here, 2,000 for the proof.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.entities import Interaction, Kind, PairState
from app.domain.stores import Database, IngestBatch
from app.infrastructure.database import open_database
from tests.erasing import remove_user

EXAMPLES = int(os.environ.get("ENCORE_TEST_EXAMPLES", "100"))
START = datetime(2026, 3, 1, tzinfo=UTC)
USERS, ITEMS = ("u1", "u2"), ("i1", "i2", "i3")
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
SHARED = {Kind.DISLIKE: Kind.LIKE}


@st.composite
def events(draw: st.DrawFn) -> list[Interaction]:
    """Up to 50 distinct events on few keys, with many equal moments."""
    numbers = draw(st.lists(st.integers(1, 2**32), min_size=1, max_size=50, unique=True))
    return [_event(draw, number) for number in numbers]


def _event(draw: st.DrawFn, number: int) -> Interaction:
    kind = draw(st.sampled_from([Kind.RATING, Kind.WATCH, Kind.WATCHLIST, Kind.LIKE, Kind.DISLIKE]))
    value = draw(st.none() | st.sampled_from([0.5, 1.0, 4.0, 5.0]))
    return Interaction(
        UUID(int=number),
        draw(st.sampled_from(USERS)),
        draw(st.sampled_from(ITEMS)),
        kind,
        START + timedelta(seconds=draw(st.integers(0, 3))),
        value,
        draw(st.sampled_from([None, 2.0, 10.0])) if kind is Kind.WATCH else None,
    )


def expected(all_events: Iterable[Interaction]) -> Mapping[tuple[str, str, Kind], PairState]:
    """The state by its definition, one event after the other in the order that decides."""
    states: dict[tuple[str, str, Kind], PairState] = {}
    for event in sorted(all_events, key=lambda event: (event.occurred_at, event.event_id.bytes)):
        key = (event.user_id, event.item_id, SHARED.get(event.kind, event.kind))
        before = states.get(key)
        states[key] = PairState(
            event.item_id,
            event.kind,
            event.value,
            event.duration,
            max(_strength(event), before.peak if before else -1.0),
            before.count + 1 if before else 1,
            event.occurred_at,
        )
    return states


def _strength(event: Interaction) -> float:
    if event.value is None:
        return 1.0
    if event.kind is Kind.WATCH:
        return min(1.0, event.value / event.duration) if event.duration else 1.0
    return event.value


async def stored(database: Database) -> Mapping[tuple[str, str, Kind], PairState]:
    return {
        (user, state.item_id, SHARED.get(state.kind, state.kind)): state
        for user in USERS
        for state in await database.interactions.history(user, 100)
    }


def cut(shuffled: Sequence[Interaction], seed: int) -> list[list[Interaction]]:
    """The events in batches of 1–9."""
    rng, batches, start = random.Random(seed), [], 0
    while start < len(shuffled):
        size = rng.randint(1, 9)
        batches.append(list(shuffled[start : start + size]))
        start += size
    return batches


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.real_servers)])
def runner_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


def test_any_order_and_any_repetition_give_the_same_state(runner_url: str) -> None:
    with asyncio.Runner() as runner:
        database = runner.run(open_database(runner_url, pool_size=2, timeout_seconds=10, lease_seconds=60))

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
        @given(events(), st.integers(0, 2**32))
        def converges(distinct: list[Interaction], seed: int) -> None:
            rng = random.Random(seed)
            delivered = [*distinct, *rng.choices(distinct, k=len(distinct) // 2)]
            rng.shuffle(delivered)
            runner.run(deliver(database, distinct, cut(delivered, seed)))

        try:
            converges()
        finally:
            runner.run(database.close())


async def deliver(
    database: Database, distinct: Sequence[Interaction], batches: Sequence[Sequence[Interaction]]
) -> None:
    """Start from nothing, take the batches in, compare with the definition."""
    for user in USERS:
        await remove_user(database, user, LONG_AGO)
    accepted = 0
    for batch in batches:
        accepted += (await database.interactions.ingest(IngestBatch(batch))).accepted

    assert accepted == len(distinct)
    assert await stored(database) == expected(distinct)
    assert await database.interactions.count() == len(distinct)
