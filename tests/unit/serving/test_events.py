"""Ingestion: each event's outcome, once only, and what cannot be taken in is kept for a human."""

from __future__ import annotations

import json

import pytest

from app.domain.entities import IngestOutcome
from app.domain.exceptions import DatabaseUnavailableError
from app.domain.list_query import ListQuery
from tests.erasing import remove_user
from tests.unit.serving.world import NOW, World, rated

EVENT_ID = "11111111-2222-4333-8444-555555555555"


async def test_each_event_of_a_batch_has_an_outcome_of_its_own(world: World) -> None:
    good, bad = rated("somebody", "crime-05"), {**rated("somebody", "crime-06"), "rating": 6}

    outcomes = await world.stack.events.ingest([good, bad, json.dumps(good).encode(), b"[]"])

    assert [event.outcome for event in outcomes] == [
        IngestOutcome.ACCEPTED,
        IngestOutcome.REJECTED,
        IngestOutcome.DUPLICATE,
        IngestOutcome.REJECTED,
    ]
    assert [event.reason for event in outcomes] == [None, "rating_range", None, "shape"]
    assert outcomes[1].field == "rating"
    assert outcomes[0].event_id == outcomes[2].event_id


async def test_an_event_sent_five_times_counts_once(world: World) -> None:
    count = await world.database.interactions.count()
    for _ in range(5):
        await world.rate("somebody", "crime-05")

    assert await world.database.interactions.count() == count + 1
    assert len(await world.database.interactions.history("somebody", 10)) == 1


async def test_the_first_of_two_events_with_one_id_wins_and_the_other_is_kept_apart(world: World) -> None:
    first = {**rated("somebody", "crime-05"), "event_id": EVENT_ID}
    other = {**rated("somebody", "crime-06"), "event_id": EVENT_ID}

    await world.stack.events.ingest([first])
    outcomes = await world.stack.events.ingest([other])

    assert [event.outcome for event in outcomes] == [IngestOutcome.CONFLICT]
    letters = await world.database.dead_letters.list(10)
    assert [letter.reason for letter in letters] == ["id_conflict"]
    assert json.loads(letters[0].payload)["video_id"] == "crime-06"


async def test_rejected_events_become_dead_letters_with_a_bounded_payload(world: World) -> None:
    await world.stack.events.ingest([b'{"user_id": "' + b"x" * 10_000 + b'"}', {"user_id": "\ud800"}])

    letters = await world.database.dead_letters.list(10)

    assert [(letter.source, letter.reason) for letter in letters] == [("http", "unsupported")] * 2
    assert [len(letter.payload) for letter in letters] == [4_096, len('{"user_id": "\\ud800"}')]


async def test_catalog_events_have_routes_of_their_own(world: World) -> None:
    outcomes = await world.stack.events.ingest([{"type": "ItemRemoved", "item_id": "crime-00"}])

    assert [(event.outcome, event.reason) for event in outcomes] == [(IngestOutcome.REJECTED, "unsupported")]
    assert await world.database.catalog.get_item("crime-00") is not None


async def test_nothing_is_taken_in_while_the_database_is_away(world: World) -> None:
    world.database_switch.is_on = False
    with pytest.raises(DatabaseUnavailableError):
        await world.rate("somebody", "crime-05")
    world.database_switch.is_on = True

    assert not await world.database.interactions.history("somebody", 10)


async def test_a_removed_user_starts_anew(world: World) -> None:
    assert not (await world.lists.recommend(ListQuery("crime-fan-1"))).is_fallback

    await remove_user(world.database, "crime-fan-1", NOW)
    await world.stack.renewal.renew({"crime-fan-1"})

    assert (await world.lists.recommend(ListQuery("crime-fan-1"))).fallback_reason == "no_history"
