"""One suite for every database: orders that can be cut off anywhere, and what never comes back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.domain.entities import DeadLetter, Interaction, Kind, OutboxMessage, User
from app.domain.erasure import Erasure, Finding, Grave, certificate_hash, certified, people_hash
from app.domain.request_log import RequestEntry
from app.domain.stores import Database, IngestBatch
from app.infrastructure.database import open_database
from tests.erasing import person, remove_user

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVERYBODY = ("anna", "ben", "cleo")


def order(*user_ids: str, erasure_id: str = "e1", at: datetime = NOON) -> Erasure:
    return Erasure(erasure_id, "cli:ada", at, at + 5 * MINUTE, user_ids, len(user_ids), people_hash(user_ids))


def letter(payload: bytes) -> DeadLetter:
    return DeadLetter("http", "shape", payload, "0" * 64, NOON)


def message(key: str, payload: bytes = b"{}") -> OutboxMessage:
    return OutboxMessage(uuid4(), "t.dlq", key, payload, {}, NOON)


def shown(user_id: str | None, at: datetime = NOON, request_id: str = "r1") -> RequestEntry:
    user = None if user_id is None else person(user_id).pseudonym
    return RequestEntry(request_id, at, user, "recs", None, None, None, None, False, None, False, 0.1, ())


async def filled(database: Database) -> None:
    """Two events, a profile and a list of each."""
    for user_id in EVERYBODY:
        events = [Interaction(uuid4(), user_id, f"v{n}", Kind.VIEW, NOON - n * MINUTE) for n in range(2)]
        await database.interactions.ingest(IngestBatch(events))
    await database.catalog.upsert_users([User(user_id, NOON, {"age": 3}) for user_id in EVERYBODY])
    await database.request_log.add([shown(user_id, request_id=user_id) for user_id in EVERYBODY])


async def test_an_order_goes_on_where_it_was_cut_off_and_counts_everything_once(database: Database) -> None:
    await filled(database)
    store = database.erasures
    await store.add(order("anna", "ben"))

    one = await store.remove_next("e1", [person("anna")])
    again = await store.remove_next("e1", [person("anna")])
    two = await store.remove_next("e1", [person("ben")])

    assert (one.removed, again, two.removed) == (1, one, 2)
    counts = {"event_ids": 4, "interactions": 4, "pair_states": 4, "request_log": 2, "users": 2}
    assert two.findings == {name: Finding(count, count, 0) for name, count in counts.items()}
    assert await database.interactions.count() == 2
    assert [user.user_id for user in await database.catalog.list_users(None, 9)] == ["cleo"]
    assert await database.request_log.get("cleo") is not None
    assert await store.known([person(user_id) for user_id in EVERYBODY]) == {"cleo"}


async def test_an_order_is_one_workers_until_its_lease_is_over(database: Database) -> None:
    store = database.erasures
    await store.add(order("anna", erasure_id="late", at=NOON + MINUTE))
    await store.add(order("anna", erasure_id="early"))

    claimed = await asyncio.gather(*(store.claim(None, NOON, 30) for _ in range(3)))

    assert sorted(one.erasure_id for one in claimed if one is not None) == ["early", "late"]
    assert await store.claim("early", NOON + timedelta(seconds=29), 30) is None
    await store.extend("early", NOON + 2 * MINUTE)
    assert await store.claim("early", NOON + MINUTE, 30) is None
    assert await store.claim("early", NOON + 2 * MINUTE, 30) is not None


async def test_a_finished_order_keeps_its_certificate_and_no_names(database: Database) -> None:
    store = database.erasures
    await store.add(order("anna"))
    noted = await store.note("e1", {"cache": Finding(3, 3, 0), "topic t": Finding(None, 1, None)})

    await store.finish(certified(noted, NOON + MINUTE))

    found = await store.get("e1")
    assert found == certified(noted, NOON + MINUTE)
    assert found is not None
    assert found.user_ids == ()
    assert found.certificate is not None
    assert found.certificate_sha256 == certificate_hash(found.certificate)
    assert found.certificate["is_clean"] is True
    assert found.certificate["people_sha256"] == people_hash(["anna"])
    assert await store.claim(None, NOON + MINUTE, 30) is None


async def test_what_names_somebody_erased_is_not_kept_until_they_come_back(database: Database) -> None:
    await filled(database)
    await remove_user(database, "anna", NOON + 5 * MINUTE)
    late = letter(b'{"user_id": "anna", "rating": "many"}')
    others = letter(b'{"user_id": "ben", "rating": "many"}')
    batch = IngestBatch([], [late, others], messages=[message("anna"), message("x", late.payload), message("ben")])

    await database.dead_letters.add([late])
    await database.interactions.ingest(batch)

    assert [one.payload for one in await database.dead_letters.list(9)] == [others.payload]
    assert await database.outbox.pending() == 1
    await database.catalog.upsert_users([User("anna", NOON)])
    await database.dead_letters.add([late])
    assert await database.dead_letters.count() == 2


async def test_lists_that_were_shown_before_are_not_logged_afterwards(database: Database) -> None:
    await filled(database)
    await database.erasures.remove_people([person("anna")], NOON, NOON + 5 * MINUTE)
    await database.catalog.readmit_users({"anna"}, NOON, lambda until: until - 6 * MINUTE)

    before, after, nobodys = shown("anna"), shown("anna", NOON + MINUTE, "r2"), shown(None, request_id="r3")
    await database.request_log.add([before, after, nobodys, shown("ben", request_id="r4")])

    found = [await database.request_log.get(f"r{n}") is not None for n in (1, 2, 3, 4)]
    assert found == [False, True, True, True]


async def test_a_writer_of_lists_and_an_erasure_beside_it_leave_nothing(database: Database, database_url: str) -> None:
    """Whichever comes first: the list is removed, or finds the grave."""
    other = await open_database(database_url, pool_size=2, timeout_seconds=5, lease_seconds=60)
    try:
        for number in range(10):
            user_id = f"user-{number}"
            await database.catalog.upsert_users([User(user_id, NOON)])
            writing = other.request_log.add([shown(user_id, request_id=f"r{number}")])
            await asyncio.gather(writing, database.erasures.remove_people([person(user_id)], NOON, NOON))
    finally:
        await other.close()

    assert [await database.request_log.get(f"r{number}") for number in range(10)] == [None] * 10


@pytest.mark.parametrize("containing", [(), (b"anna",)])
async def test_papers_are_read_by_pages_and_removed_by_number(
    database: Database, containing: tuple[bytes, ...]
) -> None:
    await database.dead_letters.add([letter(b'{"user_id": "anna"}'), letter(b"ben"), letter(b"\x00anna")])
    await database.interactions.ingest(IngestBatch([], messages=[message("anna"), message("ben", b"to anna")]))
    store = database.erasures
    await store.add(order("anna"))

    letters = await store.papers("dead_letters", 0, 2, containing)
    assert letters[0][2] == b'{"user_id": "anna"}'
    assert letters[1][2] == (b"\x00anna" if containing else b"ben")
    messages = await store.papers("outbox", 0, 9, containing)
    assert [(key, payload) for _number, key, payload in messages] == [("anna", b"{}"), ("ben", b"to anna")]
    assert await store.remove_papers("outbox", [messages[0][0]], "e1") == 1

    assert await database.outbox.pending() == 1
    assert (await store.get("e1")).findings == {"outbox": Finding(1, 1, 0)}  # type: ignore[union-attr]


async def test_graves_survive_and_say_who_has_come_back(database: Database) -> None:
    await filled(database)
    graves = {user_id: Grave(person(user_id).digest, None, NOON, NOON + MINUTE) for user_id in EVERYBODY}
    late = NOON + 2 * MINUTE
    await database.erasures.remove_people([person("ben")], NOON, NOON)
    await database.interactions.ingest(IngestBatch([Interaction(uuid4(), "ben", "v1", Kind.VIEW, late)]))

    await database.erasures.bury(list(graves.values()))
    await database.erasures.bury([replace(graves["anna"], until=NOON - MINUTE, pseudonym=b"p")])

    found = await database.erasures.graves(b"", 9)
    assert [grave.digest for grave in found] == sorted(grave.digest for grave in graves.values())
    [annas] = [grave for grave in found if grave.digest == person("anna").digest]
    assert annas == replace(graves["anna"], pseudonym=b"p")
    assert await database.erasures.newest_grave() == NOON
    assert len(await database.erasures.graves_since(NOON, 2)) == 2
    assert await database.erasures.returned(graves) == {"ben"}
