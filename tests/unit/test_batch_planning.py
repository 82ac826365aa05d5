"""Where to begin with a partition, how much poison to swallow, how to cut a batch: pure decisions."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.application.ingestion.batch_planning import (
    OffsetGap,
    PartitionBatch,
    PartitionPosition,
    PoisonCounts,
    PoisonPolicy,
    ReadStart,
    Rejected,
    admit_records,
    start_of,
)
from app.domain.entities import Interaction, Kind, SourceOffset
from app.domain.interfaces import Partition, PartitionFacts
from tests.memory_source import MemoryRecord

P0 = Partition("profile-service.video-rated", 0)
POLICY = PoisonPolicy(max_consecutive=3, max_ratio=0.2, min_seen=10, window=20)


def facts(first: int = 0, end: int = 100, committed: int | None = 50, epoch: str = "c/t1") -> PartitionFacts:
    return PartitionFacts(first, end, committed, epoch)


def stored(next_offset: int, epoch: str = "c/t1") -> SourceOffset:
    return SourceOffset(P0.topic, P0.partition, next_offset, epoch)


def record(offset: int) -> MemoryRecord:
    return MemoryRecord(offset, 0, None, b"{}", ())


def event(number: int) -> Interaction:
    return Interaction(UUID(int=number), f"u{number}", "v1", Kind.LIKE, datetime(2026, 1, 1, tzinfo=UTC))


def piece(offsets: list[int], stored: int = 0) -> PartitionBatch:
    records = [record(offset) for offset in offsets]
    return PartitionBatch(P0, 1, "c/t1", stored, offsets[-1] + 1, records, [event(offset) for offset in offsets])


@pytest.mark.parametrize(
    ("known", "log", "expected"),
    [
        (stored(50), facts(committed=50), ReadStart(50, 50, 50)),
        (stored(50), facts(committed=None), ReadStart(50, 50, 50)),
        (stored(50), facts(committed=30), ReadStart(30, 50, 50)),
        (stored(50), facts(committed=90), ReadStart(50, 50, 50)),
        (stored(50), facts(first=40, committed=30), ReadStart(40, 50, 50)),
        (None, facts(committed=90), ReadStart(0, 0, 0)),
        (None, facts(first=7), ReadStart(7, 0, 7)),
        (stored(5), facts(first=7), ReadStart(7, 5, 7, OffsetGap("offset_gap", 5, 7))),
        (stored(50, "c/t0"), facts(), ReadStart(0, 50, 0, OffsetGap("topic_recreated", 50, 50))),
        (stored(150), facts(), ReadStart(0, 150, 0, OffsetGap("topic_recreated", 150, 150))),
    ],
    ids=[
        "hint and database agree",
        "no hint",
        "a hint behind: replay for the lists",
        "a hint ahead is ignored",
        "a hint the log no longer has",
        "a new database reads everything",
        "a new database and an old log",
        "retention was faster than we were",
        "another incarnation of the topic",
        "an offset beyond the end",
    ],
)
def test_a_partition_begins_where_the_database_says(
    known: SourceOffset | None, log: PartitionFacts, expected: ReadStart
) -> None:
    assert start_of(known, log) == expected


def test_one_poison_record_in_front_of_many_good_ones_is_swallowed() -> None:
    admission = admit_records(PoisonPolicy(), PoisonCounts(), 10_000, [0])
    assert (admission.taken, admission.limit) == (10_000, None)


def test_a_long_enough_burst_of_poison_stops_at_the_limit() -> None:
    admission = admit_records(POLICY, PoisonCounts(), 9, [2, 3, 4, 5, 6])
    assert (admission.taken, admission.limit) == (6, "consecutive")


def test_a_burst_is_counted_across_batches() -> None:
    first = admit_records(POLICY, PoisonCounts(), 3, [1, 2])
    assert first.poison.consecutive == 2
    second = admit_records(POLICY, first.poison, 3, [0, 1, 2])
    assert (second.taken, second.limit) == (2, "consecutive")


def test_a_good_record_ends_a_burst() -> None:
    admission = admit_records(POLICY, PoisonCounts(consecutive=3), 40, [1, 2, 3])
    assert (admission.taken, admission.limit) == (40, None)


def test_too_large_a_share_of_poison_stops_once_enough_was_seen() -> None:
    # every third record: 4 of the first 11 (36 %), and before the tenth nothing is judged
    admission = admit_records(POLICY, PoisonCounts(), 30, list(range(0, 30, 3)))
    assert (admission.taken, admission.limit) == (10, "ratio")


def test_old_records_fade_so_that_a_burst_long_ago_does_not_count() -> None:
    poison = PoisonCounts(seen=10, invalid=2)
    for _ in range(8):
        poison = admit_records(POLICY, poison, 20, []).poison
    assert poison.invalid < 0.05
    assert poison.seen <= POLICY.window


@given(count=st.integers(1, 200), invalid=st.sets(st.integers(0, 199)), cut=st.integers(0, 200))
def test_a_batch_and_its_halves_meet_the_consecutive_limit_at_the_same_record(
    count: int, invalid: set[int], cut: int
) -> None:
    policy = PoisonPolicy(max_consecutive=3, max_ratio=1.0)
    bad = sorted(position for position in invalid if position < count)
    cut = min(cut, count)
    whole = admit_records(policy, PoisonCounts(), count, bad)
    left = admit_records(policy, PoisonCounts(), cut, [position for position in bad if position < cut])
    taken = left.taken
    if left.limit is None:
        right = [position - cut for position in bad if position >= cut]
        taken += admit_records(policy, left.poison, count - cut, right).taken
    assert taken == whole.taken


def test_halves_hold_the_same_records_and_their_fences_meet() -> None:
    left, right = piece([4, 5, 9], stored=4).halves()
    assert [kept.offset for kept in left.records] == [4]
    assert [kept.offset for kept in right.records] == [5, 9]
    assert (left.stored, left.next_offset) == (4, 5)
    assert (right.stored, right.next_offset) == (5, 10)


def test_the_first_records_of_a_piece_end_where_the_next_one_begins() -> None:
    kept = piece([4, 5, 9]).first(2)
    assert (len(kept), kept.next_offset) == (2, 9)
    assert piece([4, 5]).first(2) == piece([4, 5])


def test_a_piece_declared_poison_knows_which_of_its_records_are() -> None:
    assert piece([4, 5]).rejected("unprocessable").invalid() == [0, 1]
    assert piece([4, 5]).invalid() == []


def test_records_below_the_stored_offset_are_cut_off_as_a_replay() -> None:
    position = PartitionPosition(ticket=3, epoch="c/t1", next_offset=2, stored=4, bump_below=4)
    replay, fresh = position.cut(P0, [record(2), record(3), record(4)], [event(2), event(3), Rejected("decode")])
    assert (replay.is_replay, [kept.offset for kept in replay.records]) == (True, [2, 3])
    assert (fresh.is_replay, fresh.stored, fresh.next_offset) == (False, 4, 5)
    assert (position.next_offset, position.stored) == (5, 5)


def test_a_gap_travels_with_the_first_piece_only() -> None:
    gap = OffsetGap("offset_gap", 1, 4)
    position = PartitionPosition(ticket=1, epoch="c/t1", next_offset=4, stored=1, bump_below=4, gap=gap)
    assert [cut.gap for cut in position.cut(P0, [record(4)], [event(4)])] == [gap]
    assert [cut.gap for cut in position.cut(P0, [record(5)], [event(5)])] == [None]
