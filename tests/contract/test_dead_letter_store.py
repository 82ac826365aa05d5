"""One suite for every database: what could not be taken in is kept for a human."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.entities import DeadLetter
from app.domain.stores import Database
from app.infrastructure.database.deleting import PIECE_ROWS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LETTER = DeadLetter("kafka", "shape", b"\xff\x00{", "a" * 64, NOON, "topic", 3, 2**40)


async def test_a_letter_comes_back_as_it_went_in(database: Database) -> None:
    await database.dead_letters.add([LETTER, replace(LETTER, topic=None, partition=None, offset=None)])

    first, second = await database.dead_letters.list(10)

    assert replace(first, dead_letter_id=None) == LETTER
    assert first.dead_letter_id is not None
    assert await database.dead_letters.get(first.dead_letter_id) == first
    assert second.topic is None
    assert await database.dead_letters.get(999) is None


async def test_letters_are_listed_in_order_in_pages_and_by_reason(database: Database) -> None:
    reasons = enumerate(("a", "b", "a", "b"))
    await database.dead_letters.add([replace(LETTER, reason=reason, offset=offset) for offset, reason in reasons])

    first = await database.dead_letters.list(3)
    rest = await database.dead_letters.list(3, first[-1].dead_letter_id or 0)

    assert [letter.reason for letter in [*first, *rest]] == ["a", "b", "a", "b"]
    assert len(await database.dead_letters.list(10, reason="a")) == 2


async def test_a_replayed_letter_no_longer_counts_but_stays(database: Database) -> None:
    await database.dead_letters.add([LETTER, replace(LETTER, offset=7)])
    [first, second] = await database.dead_letters.list(10)

    await database.dead_letters.mark_replayed([first.dead_letter_id or 0], NOON)

    assert await database.dead_letters.count() == 1
    replayed = await database.dead_letters.get(first.dead_letter_id or 0)
    assert replayed is not None
    assert replayed.replayed_at == NOON
    assert second.replayed_at is None


async def test_a_record_that_is_read_again_leaves_no_second_letter(database: Database) -> None:
    elsewhere = replace(LETTER, topic=None, partition=None, offset=None)
    await database.dead_letters.add([LETTER, LETTER, elsewhere])
    await database.dead_letters.add([LETTER, replace(LETTER, sha256="b" * 64), elsewhere])

    kept = await database.dead_letters.list(10)

    assert [(letter.offset, letter.sha256[0]) for letter in kept] == [
        (2**40, "a"),
        (None, "a"),
        (2**40, "b"),
        (None, "a"),
    ]


async def test_adding_nothing_does_nothing(database: Database) -> None:
    await database.dead_letters.add([])
    await database.dead_letters.mark_replayed([], NOON)

    assert await database.dead_letters.count() == 0


async def test_letters_are_counted_with_the_bytes_they_keep(database: Database) -> None:
    assert await database.dead_letters.held() == (0, 0)

    await database.dead_letters.add(
        [replace(LETTER, payload=b"x" * 10), replace(LETTER, payload=b"\x00" * 4_096, offset=1)]
    )
    await database.dead_letters.mark_replayed([1], NOON)

    assert await database.dead_letters.held() == (2, 4_106)


async def test_letters_older_than_a_moment_go(database: Database) -> None:
    ages = (0, 1, 2, 3)
    await database.dead_letters.add(
        [replace(LETTER, offset=age, received_at=NOON - timedelta(days=age)) for age in ages]
    )

    assert await database.dead_letters.prune(NOON - timedelta(days=1)) == 2
    assert await database.dead_letters.prune(NOON - timedelta(days=1)) == 0
    assert [letter.offset for letter in await database.dead_letters.list(10)] == [0, 1]


@pytest.mark.parametrize(
    ("max_rows", "max_bytes", "kept"),
    [
        (10, 1_000, [0, 1, 2, 3, 4]),
        (3, 1_000, [2, 3, 4]),
        (10, 250, [3, 4]),
        (10, 99, []),
        (1, 250, [4]),
        (5, 500, [0, 1, 2, 3, 4]),
    ],
)
async def test_of_too_many_letters_the_newest_stay(
    database: Database, max_rows: int, max_bytes: int, kept: list[int]
) -> None:
    await database.dead_letters.add([replace(LETTER, payload=b"x" * 100, offset=offset) for offset in range(5)])

    assert await database.dead_letters.keep_newest(max_rows, max_bytes) == 5 - len(kept)
    assert [letter.offset for letter in await database.dead_letters.list(10)] == kept


async def test_more_letters_than_one_statement_takes_go_all_the_same(database: Database) -> None:
    count = PIECE_ROWS + 10
    for start in range(0, count, 1_000):
        stop = min(start + 1_000, count)
        await database.dead_letters.add([replace(LETTER, offset=offset) for offset in range(start, stop)])

    assert await database.dead_letters.keep_newest(5, 10_000) == count - 5
    assert (await database.dead_letters.held())[0] == 5
