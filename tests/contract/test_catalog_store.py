"""One suite for every database: items and users, the newest wins."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.domain.entities import IngestOutcome, Interaction, Item, Kind, User
from app.domain.exceptions import InputError
from app.domain.stores import Database, IngestBatch

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=1)
EVERYTHING = Item(
    "v1",
    NOON,
    "Amélie",
    'Il était "une fois"\n',
    ("Comedy", "Romance"),
    ("paris",),
    2001,
    datetime(2001, 4, 25, tzinfo=UTC),
    False,
    NOON,
    LATER,
    {"minutes": 122, "rating": {"mean": 4.25}, "langs": ["fr", "日本"], "none": None},
)


async def test_an_item_comes_back_as_it_went_in(database: Database) -> None:
    assert await database.catalog.upsert_items([EVERYTHING]) == 1

    assert await database.catalog.get_item("v1") == EVERYTHING


async def test_the_newest_upsert_wins_and_ties_go_to_the_later(database: Database) -> None:
    await database.catalog.upsert_items([Item("v1", NOON, "first")])

    assert await database.catalog.upsert_items([Item("v1", NOON - timedelta(seconds=1), "older")]) == 0
    assert await database.catalog.upsert_items([Item("v1", NOON, "tie")]) == 1

    item = await database.catalog.get_item("v1")
    assert item is not None
    assert item.title == "tie"


async def test_within_a_call_the_newest_wins_too(database: Database) -> None:
    items = [Item("v1", LATER, "new"), Item("v1", NOON, "old"), Item("v2", NOON, "a"), Item("v2", NOON, "b")]

    assert await database.catalog.upsert_items(items) == 2

    assert [item.title for item in await database.catalog.list_items(None, 10)] == ["new", "b"]


async def test_writing_the_same_again_changes_nothing(database: Database) -> None:
    await database.catalog.upsert_items([EVERYTHING])
    _, _, revision = await database.catalog.items_since(0, 10)

    assert await database.catalog.upsert_items([EVERYTHING]) == 0
    assert await database.catalog.items_since(revision, 10) == ([], set(), revision)


async def test_an_item_only_known_from_interactions_is_not_in_the_catalog(database: Database) -> None:
    await database.interactions.ingest(IngestBatch([Interaction(uuid4(), "u1", "v1", Kind.VIEW, NOON)]))

    assert await database.catalog.get_item("v1") is None
    assert await database.catalog.list_items(None, 10) == []
    assert await database.catalog.upsert_items([Item("v1", NOON, "now it is")]) == 1


async def test_a_removed_item_is_gone_and_its_interactions_stay(database: Database) -> None:
    await database.catalog.upsert_items([Item("v1", NOON), Item("v2", NOON)])
    await database.interactions.ingest(IngestBatch([Interaction(uuid4(), "u1", "v1", Kind.VIEW, NOON)]))

    assert await database.catalog.remove_items(["v1", "unknown"], LATER) == 1
    assert await database.catalog.remove_items(["v1"], LATER) == 0

    assert await database.catalog.get_item("v1") is None
    assert [item.item_id for item in await database.catalog.list_items(None, 10)] == ["v2"]
    assert await database.interactions.count() == 1


async def test_removal_and_upsert_compete_by_time_in_either_order(database: Database) -> None:
    await database.catalog.remove_items(["v1"], LATER)
    assert await database.catalog.upsert_items([Item("v1", NOON, "too late")]) == 0

    await database.catalog.upsert_items([Item("v2", LATER)])
    assert await database.catalog.remove_items(["v2"], NOON) == 0

    assert await database.catalog.get_item("v1") is None
    assert await database.catalog.get_item("v2") is not None
    assert await database.catalog.upsert_items([Item("v1", LATER + timedelta(seconds=1), "back")]) == 1


async def test_items_are_listed_by_id_bytewise_in_pages(database: Database) -> None:
    await database.catalog.upsert_items([Item(item_id, NOON) for item_id in ["b", "B", "a-1", "a1", "é"]])

    first = await database.catalog.list_items(None, 3)
    second = await database.catalog.list_items(first[-1].item_id, 3)

    assert [item.item_id for item in [*first, *second]] == ["B", "a-1", "a1", "b", "é"]


async def test_items_are_found_by_words_of_title_or_id_in_pages(database: Database) -> None:
    titles = {"v1": "Alien", "v2": "ALIENS", "v3": "100% Wolf", "v4": None, "alien-5": None}
    await database.catalog.upsert_items([Item(item_id, NOON, title) for item_id, title in titles.items()])

    async def found(words: str, after: str | None = None) -> list[str]:
        return [item.item_id for item in await database.catalog.list_items(after, 10, words)]

    assert await found("lien") == ["alien-5", "v1", "v2"]
    assert await found("lien", "v1") == ["v2"]
    assert await found("0%") == ["v3"]
    assert await found("a_i") == []


async def test_changes_are_followed_by_revision_in_any_page_size(database: Database) -> None:
    await database.catalog.upsert_items([Item(f"v{n}", NOON, "old") for n in range(5)])
    await database.catalog.upsert_items([Item("v1", LATER, "new")])
    await database.catalog.remove_items(["v2"], LATER)
    seen, catalog, removed = 0, dict[str, str | None](), set[str]()
    while True:
        upserted, gone, newest = await database.catalog.items_since(seen, 2)
        if newest == seen:
            break
        catalog |= {item.item_id: item.title for item in upserted}
        removed |= set(gone)
        seen = newest

    assert catalog == {"v0": "old", "v1": "new", "v3": "old", "v4": "old"}
    assert removed == {"v2"}


async def test_a_profile_comes_back_and_the_newest_wins(database: Database) -> None:
    user = User("u1", NOON, {"age": 34, "country": "Côte d'Ivoire"})

    assert await database.catalog.upsert_users([user, User("u2", NOON)]) == 2
    assert await database.catalog.upsert_users([User("u1", NOON - timedelta(days=1))]) == 0
    assert await database.catalog.get_user("u1") == user
    assert await database.catalog.get_user("nobody") is None
    assert [one.user_id for one in await database.catalog.list_users("u1", 5)] == ["u2"]


async def test_a_profile_replaces_the_bare_user_of_an_interaction(database: Database) -> None:
    await database.interactions.ingest(IngestBatch([Interaction(uuid4(), "u1", "v1", Kind.VIEW, NOON)]))

    assert await database.catalog.upsert_users([User("u1", NOON, {"age": 3})]) == 1

    assert len(await database.interactions.history("u1", 5)) == 1


async def test_reserved_words_are_no_user_ids(database: Database) -> None:
    with pytest.raises(InputError) as refused:
        await database.catalog.upsert_users([User("u1", NOON), User("models", NOON)])

    assert refused.value.field == "user_id"
    assert await database.catalog.get_user("u1") is None


async def test_a_removed_user_leaves_nothing_behind(database: Database) -> None:
    events = [Interaction(uuid4(), user, "v1", Kind.VIEW, NOON) for user in ("u1", "u1", "u2")]
    await database.catalog.upsert_users([User("u1", NOON, {"age": 3})])
    await database.interactions.ingest(IngestBatch(events))

    assert await database.catalog.remove_user("u1", NOON) is True
    assert await database.catalog.remove_user("u1", NOON) is False

    assert await database.catalog.get_user("u1") is None
    assert await database.interactions.history("u1", 5) == []
    assert await database.interactions.count() == 1
    assert (await database.interactions.columns(None, None)).user_ids == ("u2",)


async def test_what_a_removed_user_did_never_comes_back_and_what_follows_does(database: Database) -> None:
    """V17: the log is read again, a phone sends late, and the person comes back."""
    before, late = (Interaction(uuid4(), "u1", "v1", Kind.VIEW, NOON - timedelta(days=age)) for age in (0, 3))
    after = Interaction(uuid4(), "u1", "v2", Kind.VIEW, NOON + timedelta(seconds=1))
    other = Interaction(uuid4(), "u2", "v1", Kind.VIEW, NOON)
    await database.interactions.ingest(IngestBatch([before]))
    await database.catalog.remove_user("u1", NOON)

    result = await database.interactions.ingest(IngestBatch([before, other, after, late, other]))

    gone = IngestOutcome.TOMBSTONED
    assert result.outcomes == (gone, IngestOutcome.ACCEPTED, IngestOutcome.ACCEPTED, gone, IngestOutcome.DUPLICATE)
    assert result.touched == {"u1", "u2"}
    assert [state.item_id for state in await database.interactions.history("u1", 5)] == ["v2"]


async def test_erasing_somebody_nobody_knows_does_nothing(database: Database) -> None:
    assert await database.catalog.remove_user("u1", NOON) is False

    result = await database.interactions.ingest(IngestBatch([Interaction(uuid4(), "u1", "v1", Kind.VIEW, NOON)]))

    assert result.outcomes == (IngestOutcome.ACCEPTED,)


async def test_the_later_of_two_erasures_holds(database: Database) -> None:
    for until in (NOON, NOON - timedelta(days=1)):
        await database.catalog.upsert_users([User("u1", NOON)])
        assert await database.catalog.remove_user("u1", until) is True

    result = await database.interactions.ingest(IngestBatch([Interaction(uuid4(), "u1", "v1", Kind.VIEW, NOON)]))

    assert result.outcomes == (IngestOutcome.TOMBSTONED,)
    assert result.touched == set()
    assert await database.catalog.get_user("u1") is None


async def test_who_comes_back_is_taken_in_from_the_moment_given_and_never_from_before(database: Database) -> None:
    minute = timedelta(minutes=1)
    for user in ("u1", "u2"):
        await database.catalog.upsert_users([User(user, NOON)])
        await database.catalog.remove_user(user, NOON + 5 * minute)

    lifted = await database.catalog.readmit_users({"u1", "u3"}, NOON + minute, lambda until: until - 5 * minute)
    assert lifted == 1
    assert await database.catalog.readmit_users({"u1"}, NOON + minute, lambda until: until - 5 * minute) == 0
    assert await database.catalog.readmit_users({"u2"}, NOON + minute, lambda until: until + minute) == 1

    events = [("u1", NOON), ("u1", NOON + minute), ("u2", NOON + 5 * minute), ("u2", NOON + 6 * minute)]
    batch = IngestBatch([Interaction(uuid4(), user, "v1", Kind.VIEW, at) for user, at in events])
    gone, taken = IngestOutcome.TOMBSTONED, IngestOutcome.ACCEPTED
    assert (await database.interactions.ingest(batch)).outcomes == (gone, taken, gone, taken)


@pytest.mark.parametrize("text", ["\ud800", "a\x00b"])
async def test_text_a_database_cannot_hold_is_the_callers_fault(database: Database, text: str) -> None:
    with pytest.raises(InputError):
        await database.catalog.upsert_items([Item("v1", NOON, text)])


async def test_of_two_who_replace_what_they_saw_only_one_does(database: Database) -> None:
    catalog = database.catalog
    first, second = (Item("v1", NOON + timedelta(seconds=n), f"title {n}", attributes={"n": n}) for n in (1, 2))
    assert sorted([await catalog.replace_item(None, first), await catalog.replace_item(None, second)]) == [False, True]
    seen = await catalog.get_item("v1")
    later = [Item("v1", NOON + timedelta(seconds=n), f"title {n}") for n in (10, 11, 12, 13)]

    won = await asyncio.gather(*(catalog.replace_item(seen, item) for item in later))

    assert sorted(won) == [False, False, False, True]
    assert await catalog.get_item("v1") == later[won.index(True)]
