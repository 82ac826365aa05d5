"""One suite for every database: history in, state out, whatever the order and however often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import UUID, uuid4

import numpy as np
import pytest

from app.domain.entities import DeadLetter, IngestOutcome, Interaction, Kind, OutboxMessage, SourceOffset, User
from app.domain.exceptions import StaleTokenError
from app.domain.stores import Database, IngestBatch
from app.infrastructure.database import open_database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(
    number: int,
    user_id: str = "u1",
    item_id: str = "i1",
    kind: Kind = Kind.RATING,
    *,
    minutes: float = 0,
    value: float | None = 4.0,
    duration: float | None = None,
) -> Interaction:
    """An interaction whose id orders by `number`."""
    moment = NOON + timedelta(minutes=minutes)
    return Interaction(UUID(int=number), user_id, item_id, kind, moment, value, duration)


def letter(reason: str = "shape") -> DeadLetter:
    return DeadLetter("kafka", reason, b"{}", "0" * 64, NOON, "topic", 0, 7)


def message(number: int) -> OutboxMessage:
    return OutboxMessage(UUID(int=number), "topic", "key", b"{}", {"h": "1"}, NOON)


async def test_a_new_event_is_accepted_and_makes_its_user_and_item_known(database: Database) -> None:
    result = await database.interactions.ingest(IngestBatch([event(1)]))

    assert result.outcomes == (IngestOutcome.ACCEPTED,)
    assert result.touched == {"u1"}
    assert await database.catalog.get_user("u1") == User("u1", datetime(1970, 1, 1, tzinfo=UTC))
    assert await database.catalog.get_item("i1") is None


async def test_writes_that_are_cancelled_anywhere_leave_the_database_to_others(database: Database) -> None:
    """Also while somebody still looks at the errors: what they hold must not hold a lock."""
    errors: list[object] = []
    for step in range(60):
        writing = asyncio.create_task(database.interactions.ingest(IngestBatch([event(step)])))
        await asyncio.sleep(step * 0.0002)
        writing.cancel()
        errors += await asyncio.gather(writing, return_exceptions=True)

        async with asyncio.timeout(60):
            result = await database.interactions.ingest(IngestBatch([event(1_000 + step)]))
        assert result.outcomes == (IngestOutcome.ACCEPTED,)
    assert any(isinstance(error, asyncio.CancelledError) for error in errors)


async def test_the_same_event_again_is_a_duplicate_and_touches_nobody(database: Database) -> None:
    await database.interactions.ingest(IngestBatch([event(1)]))

    result = await database.interactions.ingest(IngestBatch([event(1), event(2, "u2")]))

    assert result.outcomes == (IngestOutcome.DUPLICATE, IngestOutcome.ACCEPTED)
    assert result.touched == {"u2"}
    assert await database.interactions.count() == 2


async def test_within_a_batch_the_first_of_an_id_wins(database: Database) -> None:
    batch = IngestBatch([event(1, value=3.0), event(1, value=3.0), event(1, value=5.0)])

    result = await database.interactions.ingest(batch)

    assert result.outcomes == (IngestOutcome.ACCEPTED, IngestOutcome.DUPLICATE, IngestOutcome.CONFLICT)
    [state] = await database.interactions.history("u1", 10)
    assert (state.value, state.peak, state.count) == (3.0, 3.0, 1)


@pytest.mark.parametrize(
    "other",
    [
        event(1, user_id="u9"),
        event(1, item_id="i9"),
        event(1, kind=Kind.WATCH),
        event(1, minutes=60 * 24 * 40),
        event(1, value=1.0),
        event(1, value=None),
        event(1, duration=9.0),
    ],
)
async def test_a_known_id_with_other_content_is_a_conflict_and_changes_nothing(
    database: Database, other: Interaction
) -> None:
    await database.interactions.ingest(IngestBatch([event(1)]))
    before = await database.interactions.history("u1", 10)

    result = await database.interactions.ingest(IngestBatch([other]))

    assert result.outcomes == (IngestOutcome.CONFLICT,)
    assert result.touched == frozenset()
    assert await database.interactions.history("u1", 10) == before
    assert await database.catalog.get_user("u9") is None


async def test_a_conflict_leaves_what_the_caller_wants_kept_of_it(database: Database) -> None:
    await database.interactions.ingest(IngestBatch([event(1)]))
    asked: list[int] = []

    def keep(position: int) -> tuple[DeadLetter, list[OutboxMessage]]:
        asked.append(position)
        return letter("id_conflict"), [message(1)]

    await database.interactions.ingest(IngestBatch([event(2), event(1, value=1.0)], on_conflict=keep))

    assert asked == [1]
    assert [kept.reason for kept in await database.dead_letters.list(10)] == ["id_conflict"]
    assert await database.outbox.pending() == 1


async def test_the_newest_event_gives_the_value_whatever_order_they_arrive_in(database: Database) -> None:
    events = [event(1, minutes=5, value=2.0), event(2, minutes=1, value=5.0), event(3, minutes=5, value=3.0)]
    for number, order in enumerate(permutations(events)):
        renamed = [
            Interaction(
                UUID(int=number * 10 + one.event_id.int), f"u{number}", "i1", one.kind, one.occurred_at, one.value
            )
            for one in order
        ]
        for one in renamed:
            await database.interactions.ingest(IngestBatch([one]))

        [state] = await database.interactions.history(f"u{number}", 10)

        assert (state.value, state.peak, state.count) == (3.0, 5.0, 3)
        assert state.occurred_at == NOON + timedelta(minutes=5)


async def test_like_and_dislike_share_one_state_and_the_newest_decides(database: Database) -> None:
    like = event(1, kind=Kind.LIKE, minutes=1, value=None)
    dislike = event(2, kind=Kind.DISLIKE, minutes=2, value=None)

    await database.interactions.ingest(IngestBatch([dislike, like]))

    [state] = await database.interactions.history("u1", 10)
    assert (state.kind, state.count, state.value, state.peak) == (Kind.DISLIKE, 2, None, 1.0)


async def test_the_peak_of_a_watch_is_its_largest_watched_ratio(database: Database) -> None:
    watched = [
        event(1, kind=Kind.WATCH, value=50.0, duration=100.0),
        event(2, kind=Kind.WATCH, minutes=1, value=10.0, duration=100.0),
    ]

    await database.interactions.ingest(IngestBatch(watched))

    [state] = await database.interactions.history("u1", 10)
    assert (state.value, state.duration, state.peak) == (10.0, 100.0, 0.5)


async def test_a_watch_longer_than_the_item_peaks_at_one(database: Database) -> None:
    watched = [event(1, kind=Kind.WATCH, value=300.0, duration=100.0), event(2, kind=Kind.WATCH, value=5.0)]

    await database.interactions.ingest(IngestBatch(watched))

    [state] = await database.interactions.history("u1", 10)
    assert state.peak == 1.0


async def test_history_is_newest_first_and_bounded(database: Database) -> None:
    events = [event(n, item_id=f"i{n}", minutes=n) for n in range(5)]
    await database.interactions.ingest(IngestBatch([*events, event(9, "u2", "i9", minutes=99)]))

    history = await database.interactions.history("u1", 3)

    assert [state.item_id for state in history] == ["i4", "i3", "i2"]
    assert await database.interactions.history("nobody", 3) == []


async def test_columns_hold_every_interaction_in_order(database: Database) -> None:
    await database.interactions.ingest(
        IngestBatch(
            [
                event(3, "u2", "b", minutes=1, value=1.0),
                event(2, "u1", "b", minutes=2, value=None),
                event(5, "u1", "a", Kind.WATCH, minutes=1, value=30.0, duration=60.0),
                event(4, "u1", "c", minutes=1, value=2.5),
            ]
        )
    )

    columns = await database.interactions.columns(None, None)

    assert (columns.user_ids, columns.item_ids) == (("u1", "u2"), ("a", "b", "c"))
    assert columns.user.tolist() == [0, 0, 0, 1]
    assert columns.item.tolist() == [2, 0, 1, 1]  # event ids 4 and 5 at the same moment: in the order of their ids
    assert columns.kind.tolist() == [1, 0, 1, 1]
    np.testing.assert_array_equal(columns.value, np.array([2.5, 30, np.nan, 1], dtype=np.float32))
    np.testing.assert_array_equal(columns.duration, np.array([np.nan, 60, np.nan, np.nan], dtype=np.float32))
    np.testing.assert_array_equal(columns.occurred_at, NOON.timestamp() + np.array([60.0, 60, 120, 60]))
    assert [a.dtype.name for a in (columns.user, columns.kind, columns.value, columns.occurred_at)] == [
        "int32",
        "int8",
        "float32",
        "float64",
    ]


async def test_columns_keep_to_the_window(database: Database) -> None:
    await database.interactions.ingest(IngestBatch([event(n, item_id=f"i{n}", minutes=n) for n in range(4)]))

    columns = await database.interactions.columns(NOON + timedelta(minutes=1), NOON + timedelta(minutes=3))

    assert columns.item_ids == ("i1", "i2")


async def test_columns_of_an_empty_database_are_empty(database: Database) -> None:
    columns = await database.interactions.columns(None, None)

    assert columns.user_ids == ()
    assert columns.user.shape == (0,)


async def test_export_gives_back_what_went_in_in_order(database: Database) -> None:
    events = [
        Interaction(uuid4(), f"ü{n % 3}", "日本", Kind.WATCH, NOON + timedelta(microseconds=n), n / 3, None, "tv")
        for n in range(7)
    ]
    await database.interactions.ingest(IngestBatch(events[:4]))
    await database.interactions.ingest(IngestBatch(events[4:]))

    batches = [batch async for batch in database.interactions.export(batch_size=3)]

    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert [one for batch in batches for one in batch] == events


async def test_events_of_other_centuries_and_months_are_one_history(database: Database) -> None:
    moments = [
        datetime(1970, 1, 2, tzinfo=UTC),
        datetime(1996, 2, 29, tzinfo=UTC),
        NOON,
        datetime(2031, 1, 1, tzinfo=UTC),
    ]
    events = [Interaction(uuid4(), "u1", f"i{n}", Kind.LIKE, moment) for n, moment in enumerate(moments)]

    await database.interactions.ingest(IngestBatch(events))

    assert await database.interactions.count() == 4
    assert [state.occurred_at for state in await database.interactions.history("u1", 9)] == moments[::-1]


async def test_users_since_names_those_with_newer_interactions_and_how_far_it_looked(database: Database) -> None:
    await database.interactions.ingest(IngestBatch([event(1, "u1"), event(2, "u2")]))
    first, seen = await database.interactions.users_since(0, 100)
    await database.interactions.ingest(IngestBatch([event(3, "u3"), event(1, "u1")]))

    second, newest = await database.interactions.users_since(seen, 100)

    assert (set(first), set(second)) == ({"u1", "u2"}, {"u3"})
    assert newest > seen
    assert await database.interactions.users_since(newest, 100) == (set(), newest)


async def test_a_negative_sequence_asks_where_the_end_is(database: Database) -> None:
    await database.interactions.ingest(IngestBatch([event(1, "u1")]))
    nobody, end = await database.interactions.users_since(-1, 100)
    await database.interactions.ingest(IngestBatch([event(2, "u2")]))

    assert set(nobody) == set()
    assert set((await database.interactions.users_since(end, 100))[0]) == {"u2"}


async def test_users_since_can_be_read_in_small_steps(database: Database) -> None:
    await database.interactions.ingest(IngestBatch([event(n, f"u{n}") for n in range(5)]))
    seen, found = 0, set[str]()
    while True:
        users, seen = await database.interactions.users_since(seen, 2)
        if not users:
            break
        found |= set(users)

    assert found == {f"u{n}" for n in range(5)}


async def test_popular_counts_nobody_whose_opinion_is_against_an_item_or_none(database: Database) -> None:
    """Of ten people who had to do with item `a`, three speak for it: u1, u2 and u3."""
    said: Sequence[tuple[str, Kind, float | None, float | None]] = (
        ("u1", Kind.LIKE, None, None),
        ("u2", Kind.RATING, 2.5, None),
        ("u3", Kind.WATCH, 1.0, 100.0),
        ("u4", Kind.DISLIKE, None, None),
        ("u5", Kind.RATING, 2.0, None),
        ("u6", Kind.RATING, 0.5, None),
        ("u7", Kind.WATCHLIST, 0.0, None),
        ("u8", Kind.WATCH, 0.0, 100.0),
        ("u9", Kind.WATCH, 90.0, 100.0),
        ("u9", Kind.DISLIKE, None, None),
        ("u10", Kind.PURCHASE, None, None),
        ("u10", Kind.RATING, 1.0, None),
    )
    await database.interactions.ingest(
        IngestBatch(
            [
                event(number, user, "a", kind, minutes=number, value=value, duration=duration)
                for number, (user, kind, value, duration) in enumerate(said, 1)
            ]
        )
    )

    assert await database.interactions.popular(NOON, 5) == [("a", 3.0)]


async def test_popular_counts_distinct_users_since_then(database: Database) -> None:
    await database.interactions.ingest(
        IngestBatch(
            [
                event(1, "u1", "a", minutes=10),
                event(2, "u1", "a", minutes=11),
                event(3, "u2", "a", minutes=12),
                event(4, "u1", "b", Kind.LIKE, minutes=10),
                event(5, "u1", "b", Kind.WATCH, minutes=10),
                event(6, "u2", "c", minutes=-10),
            ]
        )
    )

    assert await database.interactions.popular(NOON, 5) == [("a", 2.0), ("b", 1.0)]
    assert await database.interactions.popular(NOON, 1) == [("a", 2.0)]


async def test_rows_letters_messages_and_offsets_go_in_together(database: Database) -> None:
    batch = IngestBatch([event(1)], [letter()], [(0, SourceOffset("t", 0, 5, "e"))], [message(1)])

    await database.interactions.ingest(batch)

    assert await database.interactions.offsets("t") == [SourceOffset("t", 0, 5, "e")]
    assert await database.dead_letters.count() == 1
    assert await database.outbox.pending() == 1


async def test_a_batch_behind_the_fence_is_refused_whole(database: Database) -> None:
    await database.interactions.ingest(IngestBatch([], offsets=[(0, SourceOffset("t", 0, 5, "e"))]))
    offsets = [(0, SourceOffset("t", 1, 2, "e")), (3, SourceOffset("t", 0, 9, "e"))]

    with pytest.raises(StaleTokenError):
        await database.interactions.ingest(IngestBatch([event(1)], [letter()], offsets, [message(1)]))

    assert await database.interactions.offsets("t") == [SourceOffset("t", 0, 5, "e")]
    assert await database.interactions.count() == 0
    assert await database.dead_letters.count() == 0
    assert await database.outbox.pending() == 0


async def test_a_first_batch_must_not_claim_to_follow_another(database: Database) -> None:
    with pytest.raises(StaleTokenError):
        await database.interactions.ingest(IngestBatch([event(1)], offsets=[(3, SourceOffset("t", 0, 9, "e"))]))


async def test_offsets_move_on_with_the_batches_and_take_a_new_epoch(database: Database) -> None:
    for before, after, epoch in [(0, 5, "e"), (5, 9, "e"), (9, 2, "f")]:
        await database.interactions.ingest(IngestBatch([], offsets=[(before, SourceOffset("t", 3, after, epoch))]))

    assert await database.interactions.offsets("t") == [SourceOffset("t", 3, 2, "f")]
    assert await database.interactions.offsets("other") == []


@pytest.fixture
async def second(database_url: str) -> AsyncIterator[Database]:
    """The same database, opened once more: another process, as far as the adapter can tell."""
    opened = await open_database(database_url, pool_size=2, timeout_seconds=10, lease_seconds=60)
    yield opened
    await opened.close()


async def test_of_two_consumers_with_one_partition_one_is_refused(database: Database, second: Database) -> None:
    batches = [IngestBatch([event(n)], offsets=[(0, SourceOffset("t", 0, 1, "e"))]) for n in (1, 2)]

    results = await asyncio.gather(
        database.interactions.ingest(batches[0]), second.interactions.ingest(batches[1]), return_exceptions=True
    )

    assert sorted(type(result).__name__ for result in results) == ["IngestResult", "StaleTokenError"]
    assert await database.interactions.count() == 1


async def test_two_writers_with_the_same_events_count_each_once(database: Database, second: Database) -> None:
    events = [event(n, f"u{n % 7}", f"i{n % 5}", minutes=n) for n in range(400)]
    chunks = [events[start : start + 50] for start in range(0, 400, 50)]

    async def write(store: Database, order: list[list[Interaction]]) -> int:
        return sum([(await store.interactions.ingest(IngestBatch(chunk))).accepted for chunk in order])

    accepted = await asyncio.gather(write(database, chunks), write(second, chunks[::-1]))

    assert sum(accepted) == 400
    assert await database.interactions.count() == 400
    states = [state for n in range(7) for state in await database.interactions.history(f"u{n}", 100)]
    assert sum(state.count for state in states) == 400


async def test_two_writers_that_meet_on_the_same_pairs_wait_in_one_order(database: Database, second: Database) -> None:
    """One has two events of a pair where the other has one, and the reverse: neither may hold what the other needs."""

    def batch(first_number: int, crowded: int) -> list[Interaction]:
        pairs = [*range(40), *range(crowded, 40, 2)]
        return [event(first_number + n, f"u{pair}", "i1", minutes=n) for n, pair in enumerate(pairs)]

    async def write(store: Database, start: int, crowded: int) -> int:
        batches = [batch(start + turn * 100, crowded) for turn in range(20)]
        return sum([(await store.interactions.ingest(IngestBatch(made))).accepted for made in batches])

    accepted = await asyncio.gather(write(database, 1, 0), write(second, 10_001, 1))

    assert list(accepted) == [1_200, 1_200]


async def test_reads_go_on_while_a_batch_is_written(database: Database) -> None:
    await database.interactions.ingest(IngestBatch([event(1)]))
    bulk = [event(n, f"u{n}", f"i{n % 50}") for n in range(10, 5_010)]

    writing = asyncio.create_task(database.interactions.ingest(IngestBatch(bulk)))
    reads = 0
    while not writing.done():
        assert len(await database.interactions.history("u1", 10)) == 1
        reads += 1
    await writing

    assert reads > 3
