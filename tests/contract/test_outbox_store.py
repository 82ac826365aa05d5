"""One suite for every database: messages leave in order, each held by one relay at a time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.domain.entities import OutboxMessage
from app.domain.stores import Database, IngestBatch

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=31)


async def wait_for_publication(database: Database, keys: str) -> None:
    """One message per letter, which is its key, in this order."""
    messages = [
        OutboxMessage(UUID(int=n), "topic", key, bytes([n, 0, 255]), {"ce_id": str(n)}, NOON)
        for n, key in enumerate(keys, start=1)
    ]
    await database.interactions.ingest(IngestBatch([], messages=messages))


async def claimed(database: Database, limit: int, now: datetime = NOON) -> list[int]:
    return [message.message_id.int for message in await database.outbox.claim(limit, now, 30)]


async def test_a_message_comes_back_as_it_was_written(database: Database) -> None:
    await wait_for_publication(database, "a")

    [message] = await database.outbox.claim(10, NOON, 30)

    assert message == OutboxMessage(UUID(int=1), "topic", "a", b"\x01\x00\xff", {"ce_id": "1"}, NOON, message.sequence)


async def test_the_oldest_are_claimed_in_order_and_once(database: Database) -> None:
    await wait_for_publication(database, "abcd")

    assert await claimed(database, 3) == [1, 2, 3]
    assert await claimed(database, 3) == [4]
    assert await claimed(database, 3) == []


async def test_a_claim_that_was_not_published_is_given_out_again_after_its_lease(database: Database) -> None:
    await wait_for_publication(database, "ab")
    first = await database.outbox.claim(2, NOON, 30)
    await database.outbox.published([first[0].sequence or 0], NOON)

    assert await claimed(database, 10, LATER) == [2]


async def test_a_message_never_overtakes_one_of_its_key_that_somebody_holds(database: Database) -> None:
    await wait_for_publication(database, "aab")
    assert await claimed(database, 1) == [1]

    assert await claimed(database, 10) == [3]


async def test_published_messages_are_gone(database: Database) -> None:
    await wait_for_publication(database, "abc")
    claim = await database.outbox.claim(2, NOON, 30)

    await database.outbox.published([message.sequence or 0 for message in claim], NOON)

    assert await database.outbox.pending() == 1
    assert await claimed(database, 10, LATER) == [3]


async def test_two_relays_at_once_share_no_message(database: Database) -> None:
    await wait_for_publication(database, "abcdefghij")

    shares = await asyncio.gather(*(claimed(database, 3) for _ in range(4)))

    assert sorted(number for share in shares for number in share) == list(range(1, 11))


async def test_a_message_id_that_is_known_is_not_written_again(database: Database) -> None:
    await wait_for_publication(database, "a")
    await wait_for_publication(database, "ab")

    assert await claimed(database, 3) == [1, 2]
