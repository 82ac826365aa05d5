"""Taking an import back leaves what would be there if it had never been."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.entities import IngestOutcome, Interaction, Item, Kind, SourceOffset, User
from app.domain.exceptions import ConflictError, NotFoundError
from app.domain.import_store import ImportKind, ImportRecord, ImportState
from app.domain.stores import Database, IngestBatch
from app.infrastructure.database import import_undo, open_database
from app.infrastructure.database.migrate import run_on_database
from tests.contract.test_ingest_properties import LONG_AGO, USERS, cut, events, expected, stored
from tests.erasing import remove_user

EXAMPLES = int(os.environ.get("ENCORE_TEST_EXAMPLES", "40"))
NOW = datetime(2026, 7, 1, tzinfo=UTC)


def liked(number: int, user: str = "u1", item: str = "i1", kind: Kind = Kind.LIKE) -> Interaction:
    return Interaction(UUID(int=number), user, item, kind, NOW + timedelta(seconds=number))


async def start(database: Database, name: str, kind: ImportKind = ImportKind.INTERACTIONS) -> str:
    await database.imports.start(ImportRecord(name, kind, ("a.csv", "b.csv"), NOW))
    return name


async def take(database: Database, name: str | None, *rows: Interaction) -> Sequence[IngestOutcome]:
    return (await database.interactions.ingest(IngestBatch(rows, import_id=name))).outcomes


async def undo(database: Database, name: str) -> tuple[int, set[str]]:
    rows, users = 0, set()
    async for removed in database.imports.undo(name, NOW):
        rows += removed.rows
        users |= set(removed.users)
    return rows, users


async def everything(database: Database, users: Sequence[str] = USERS) -> list[Any]:
    """All that can be seen of interactions, users and items, and the figures made of them."""
    exported = [event async for batch in database.interactions.export() for event in batch]
    return [
        sorted(exported, key=lambda event: event.event_id),
        {user: await database.interactions.history(user, 100) for user in users},
        await database.catalog.list_users(None, 100),
        await database.catalog.list_items(None, 100),
        await database.interactions.popular(LONG_AGO, 100),
        await database.interactions.count(),
    ]


async def test_an_import_is_noted_with_its_files_rows_and_sequences(database: Database) -> None:
    name = await start(database, "m1")
    await take(database, None, liked(1))
    await take(database, name, liked(1), liked(2), liked(3))
    await take(database, name, liked(2))
    running = await database.imports.get(name)
    await database.imports.finish(name, NOW)

    done = await database.imports.get(name)

    assert running is not None
    assert done is not None
    assert (running.state, done.state) == (ImportState.UNFINISHED, ImportState.FINISHED)
    assert (done.rows, tuple(done.files), done.kind) == (2, ("a.csv", "b.csv"), ImportKind.INTERACTIONS)
    assert done.first_sequence is not None
    assert done.last_sequence == done.first_sequence + 1
    assert [found.import_id for found in await database.imports.list(10)] == [name]
    assert await database.imports.get("other") is None


async def test_what_others_brought_between_two_batches_stays(database: Database) -> None:
    name = await start(database, "m1")
    await take(database, name, liked(1), liked(2, "u2"))
    await take(database, None, liked(3), liked(4, "u3"))
    await take(database, name, liked(5), liked(3))

    assert await undo(database, name) == (3, {"u1", "u2"})

    left = [event.event_id.int async for batch in database.interactions.export() for event in batch]
    assert left == [3, 4]
    assert [state.count for state in await database.interactions.history("u1", 9)] == [1]
    assert [user.user_id for user in await database.catalog.list_users(None, 9)] == ["u1", "u3"]


async def test_the_newest_that_is_left_decides_again(database: Database) -> None:
    await take(database, None, liked(1), replace(liked(2, kind=Kind.WATCH), value=8.0, duration=10.0))
    before = await everything(database)
    name = await start(database, "m1")
    await take(database, name, liked(7, kind=Kind.DISLIKE), replace(liked(8, kind=Kind.WATCH), value=1.0))

    assert await everything(database) != before
    await undo(database, name)

    assert await everything(database) == before


def item_ids(url: str) -> set[str]:
    """All that the table holds: an item that only interactions name cannot be seen through the port."""
    found: set[str] = set()
    table = "features.items" if "postgresql" in url else "items"
    query = sa.text(f"SELECT item_id FROM {table}")
    run_on_database(url, lambda connection: found.update(connection.execute(query).scalars()))
    return found


async def test_profiles_and_items_with_data_stay_and_bare_ones_go(database: Database, database_url: str) -> None:
    await database.catalog.upsert_users([User("known", NOW, {"age": 7})])
    await database.catalog.upsert_items([Item("real", title="T", updated_at=NOW)])
    await database.catalog.remove_items(["removed"], NOW)
    name = await start(database, "m1")
    await take(database, name, liked(1, "known", "real"), liked(2, "bare", "bare"), liked(3, "bare", "removed"))
    await take(database, None, liked(4, "known", "used"))
    before = await asyncio.to_thread(item_ids, database_url)
    await undo(database, name)

    assert before == {"real", "bare", "removed", "used"}
    assert await asyncio.to_thread(item_ids, database_url) == {"real", "removed", "used"}
    assert [user.user_id for user in await database.catalog.list_users(None, 9)] == ["known"]
    assert [item.item_id for item in await database.catalog.list_items(None, 9)] == ["real"]
    assert await database.catalog.item_times(["removed"]) == {"removed": NOW}


async def test_rows_can_be_imported_again_after_an_undo(database: Database) -> None:
    for name in ("m1", "m2"):
        await start(database, name)
        assert list(await take(database, name, liked(1), liked(2))) == [IngestOutcome.ACCEPTED] * 2
        await undo(database, name)


async def test_a_second_undo_is_refused_and_so_are_unknown_ids_and_catalogs(database: Database) -> None:
    name = await start(database, "m1")
    await take(database, name, liked(1))
    await undo(database, name)
    items = await start(database, "m2", ImportKind.ITEMS)
    await database.imports.finish(items, NOW, entries=5)

    with pytest.raises(ConflictError, match="undone already"):
        await undo(database, name)
    with pytest.raises(ConflictError, match="earlier versions are not kept"):
        await undo(database, items)
    with pytest.raises(NotFoundError, match="no such import"):
        await undo(database, "m3")
    found = await database.imports.get(items)
    assert found is not None
    assert found.rows == 5


async def test_a_batch_of_an_import_that_is_undone_is_refused_whole(database: Database) -> None:
    name = await start(database, "m1")
    await take(database, name, liked(1))
    await undo(database, name)

    with pytest.raises(ConflictError, match="cannot add any more rows"):
        await take(database, name, liked(2))

    await database.imports.finish(name, NOW)
    found = await database.imports.get(name)
    assert found is not None
    assert (found.state, found.undone_at) == (ImportState.UNDONE, NOW)
    assert await database.interactions.count() == 0


async def test_an_undo_that_was_broken_off_goes_on(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_undo, "USERS_A_STEP", 1)
    name = await start(database, "m1")
    await take(database, None, liked(90, "u2"))
    before = await everything(database)
    await take(database, name, *(liked(number, f"u{number % 5}") for number in range(1, 41)))
    async for _ in database.imports.undo(name, NOW):
        break
    half = await database.imports.get(name)

    rows, _ = await undo(database, name)

    assert half is not None
    assert half.state is ImportState.UNDOING
    assert 0 < rows < 40
    assert await everything(database) == before


async def test_events_that_come_meanwhile_count_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly once: what the log delivers is there once, whether it was imported before or not."""
    monkeypatch.setattr(import_undo, "USERS_A_STEP", 2)
    name = await start(database, "m1")
    await take(database, name, *(liked(number, f"u{number % 9}", f"i{number % 4}") for number in range(1, 200)))
    coming = [liked(number, f"u{number % 9}", f"i{number % 5}", Kind.DISLIKE) for number in range(300, 400)]

    async def consume() -> None:
        for place, event in enumerate(coming):
            offset = (place, SourceOffset("events", 0, place + 1, "e"))
            await database.interactions.ingest(IngestBatch([event], offsets=[offset]))

    await asyncio.gather(consume(), undo(database, name))

    exported = [event async for batch in database.interactions.export() for event in batch]
    assert sorted(event.event_id.int for event in exported) == list(range(300, 400))
    states = [state for user in range(9) for state in await database.interactions.history(f"u{user}", 100)]
    assert sum(state.count for state in states) == 100
    assert {state.kind for state in states} == {Kind.DISLIKE}
    assert [offset.next_offset for offset in await database.interactions.offsets("events")] == [100]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.real_servers)])
def runner_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


def test_a_then_b_then_undo_of_b_is_a_alone(runner_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_undo, "USERS_A_STEP", 1)
    with asyncio.Runner() as runner:
        database = runner.run(open_database(runner_url, pool_size=2, timeout_seconds=10, lease_seconds=60))
        names = iter(range(1_000_000))

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
        @given(events(), st.integers(0, 2**32))
        def undoes(distinct: list[Interaction], seed: int) -> None:
            rng = random.Random(seed)
            first = [event for event in distinct if rng.random() < 0.5]
            second = [*(event for event in distinct if event not in first), *rng.choices(distinct, k=5)]
            rng.shuffle(second)
            runner.run(_there_and_back(database, first, cut(second, seed), f"m{next(names)}"))

        try:
            undoes()
        finally:
            runner.run(database.close())


async def _there_and_back(
    database: Database, first: Sequence[Interaction], second: Sequence[Sequence[Interaction]], name: str
) -> None:
    """Duplicates of the first that the second holds stay: they are the first's."""
    for user in USERS:
        await remove_user(database, user, LONG_AGO)
    await start(database, name + "a")
    await take(database, name + "a", *first)
    before = await everything(database)
    await start(database, name)
    for batch in second:
        await take(database, name, *batch)

    await undo(database, name)

    assert await everything(database) == before
    assert await stored(database) == expected(first)
