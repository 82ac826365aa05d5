"""What speaks against an item, and what says nothing: lists as a sensible shopkeeper makes them (docs/signals.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from app.application.serving.model_server import ModelServer
from app.domain.entities import IngestOutcome
from app.domain.list_query import Filters, ListQuery, Page, SessionEvent, SessionQuery
from tests.unit.serving.world import ITEMS, NOW, World, rated

ANYTHING = Filters(exclude_seen=False)
ALL = ListQuery("somebody", limit=100, filters=ANYTHING)


def ids(page: Page) -> list[str]:
    return [line.item_id for line in page.items]


async def tell(world: World, item_id: str, **fields: object) -> None:
    """An event of today of this person."""
    at = NOW - timedelta(hours=1)
    [outcome] = await world.stack.events.ingest(
        [{"user_id": ALL.user_id, "timestamp": at.isoformat(), "video_id": item_id, **fields}]
    )
    assert outcome.outcome is IngestOutcome.ACCEPTED, outcome


async def dislike(world: World, item_id: str) -> None:
    at = NOW - timedelta(hours=1)
    event = {"type": "ItemInteracted", "kind": "dislike", "item_id": item_id, "user_id": ALL.user_id}
    await world.stack.events.ingest([{**event, "timestamp": at.isoformat()}])


@pytest.mark.parametrize("kind", ["hybrid", "collaborative", "content", "sequential", "popular"])
@pytest.mark.parametrize("exclude_seen", [True, False])
async def test_what_was_disliked_never_comes_back(world: World, kind: str, exclude_seen: bool) -> None:
    await world.rate(ALL.user_id, "crime-03", "crime-04")
    await dislike(world, "crime-00")
    await tell(world, "comedy-00", rating=1.0)

    shown = ids(await world.lists.recommend(replace(ALL, type=kind, filters=Filters(exclude_seen=exclude_seen))))

    assert not {"crime-00", "comedy-00"} & set(shown)
    assert len(shown) == (36 if exclude_seen else 38)


async def test_what_was_disliked_does_not_come_back_without_a_model_either(untrained_world: World) -> None:
    await dislike(untrained_world, "crime-00")
    page = await untrained_world.lists.recommend(ALL)
    assert page.fallback_reason == "no_model"
    assert "crime-00" not in ids(page)
    assert ids(page)[0] == "comedy-00"


async def test_somebody_with_dislikes_alone_gets_what_is_popular_away_from_them_and_is_told(world: World) -> None:
    newcomer = ids(await world.lists.recommend(replace(ALL, user_id="nobody")))
    await dislike(world, "crime-00")
    await dislike(world, "crime-01")

    page = await world.lists.recommend(ALL)

    assert (page.is_fallback, page.fallback_reason) == (True, "no_likes")
    comedies = [item_id for item_id in newcomer if item_id.startswith("comedy")]
    crimes = [item_id for item_id in newcomer if item_id not in {*comedies, "crime-00", "crime-01"}]
    # What is popular comes first, as for a newcomer; what is like the disliked ones comes last.
    assert [item_id for item_id in ids(page) if item_id.startswith("comedy")][:8] == comedies[:8]
    assert sorted(ids(page)[-len(crimes) :]) == sorted(crimes)
    assert ids(page)[:5] == comedies[:5]


async def test_a_hundred_dislikes_do_not_push_what_is_popular_aside(world: World) -> None:
    for number in range(19):
        await dislike(world, f"crime-{number:02}")
    page = await world.lists.recommend(ALL)
    assert ids(page)[0] == "comedy-00"
    assert ids(page)[-1] == "crime-19"


async def test_one_like_is_enough_for_a_personal_list_and_a_dislike_keeps_away_what_is_like_it(world: World) -> None:
    await world.rate(ALL.user_id, "comedy-03")
    await dislike(world, "crime-00")
    page = await world.lists.recommend(ALL)
    assert page.fallback_reason is None
    assert all(item_id.startswith("comedy") for item_id in ids(page)[:20])


NOTHING_SAID: Mapping[str, Mapping[str, object]] = {
    "two stars": {"rating": 2.0},
    "taken off the watchlist": {"action": "removed"},
    "a watch of no seconds": {"watched_duration": 0, "total_duration": 5_400},
}


@pytest.mark.parametrize("name", NOTHING_SAID)
async def test_what_says_nothing_changes_no_order_but_has_been_seen(world: World, name: str) -> None:
    newcomer = ids(await world.lists.recommend(replace(ALL, user_id="nobody")))
    await tell(world, "crime-00", **NOTHING_SAID[name])

    everything, unseen = await world.lists.recommend(ALL), await world.lists.recommend(replace(ALL, filters=Filters()))

    assert ids(everything) == newcomer
    assert ids(unseen) == [item_id for item_id in newcomer if item_id != "crime-00"]
    assert everything.fallback_reason == unseen.fallback_reason == "no_likes"


async def test_a_dislike_counts_more_than_what_was_done_with_the_item(world: World) -> None:
    await tell(world, "crime-00", watched_duration=5_400, total_duration=5_400)
    await world.stack.events.ingest(
        [{"type": "ItemInteracted", "kind": "purchase", "item_id": "crime-00", "user_id": ALL.user_id,
          "timestamp": (NOW - timedelta(hours=2)).isoformat()}]
    )  # fmt: skip
    await dislike(world, "crime-00")
    page = await world.lists.recommend(ALL)
    assert "crime-00" not in ids(page)
    assert page.fallback_reason == "no_likes"
    assert ids(page)[0].startswith("comedy")


async def test_a_session_may_bring_dislikes(world: World) -> None:
    history = (SessionEvent("comedy-03"), SessionEvent("crime-00", -1.0))
    page = await world.lists.session(SessionQuery(history, limit=100, filters=ANYTHING))
    assert "crime-00" not in ids(page)
    assert "comedy-03" in ids(page)


async def test_dislikes_of_others_are_not_popularity(world: World) -> None:
    for fan in range(30):
        events = [rated(f"hater-{fan}", "comedy-19", 1.0)]
        await world.stack.events.ingest(events)
    popular = await world.lists.popular(None, timedelta(days=7), 100)
    assert "comedy-19" not in ids(popular)[:10]
    await world.train()
    await world.server.refresh_model()
    for page in (await world.lists.popular(None, None, 100), await world.lists.recommend(replace(ALL, user_id="new"))):
        assert "comedy-19" not in ids(page)[:10]


async def test_nothing_left_because_all_was_seen_is_said(world: World) -> None:
    await world.rate(ALL.user_id, *(item.item_id for item in ITEMS))
    page = await world.lists.recommend(ListQuery(ALL.user_id))
    assert (ids(page), page.is_fallback, page.fallback_reason) == ([], True, "all_seen")
    genre = await world.lists.recommend(ListQuery(ALL.user_id, filters=Filters(genres=frozenset({"Western"}))))
    assert (ids(genre), genre.fallback_reason) == ([], "nothing_matches")
    again = await world.lists.recommend(ALL)
    assert (len(again.items), again.fallback_reason) == (40, None)


async def test_what_is_like_an_item_of_which_nothing_is_known_is_popular_and_says_so(world: World) -> None:
    server: ModelServer = world.server
    await world.database.catalog.upsert_items([replace(ITEMS[0], item_id="blank", title="", genres=(), year=None)])
    await server.refresh_catalog()
    for _trained in range(2):  # as an item the model has never seen, and as one that was there when it was trained
        page = await world.lists.similar("blank", 40)
        assert (page.is_fallback, page.fallback_reason) == (True, "item_unknown_to_model")
        assert ids(page)[0] == "crime-00"
        assert "blank" not in ids(page)
        members: Mapping[str, object] = {"content": {}, "ials": {"factors": 4}, "popularity": {}}
        await world.train({"members": members, "weights": {name: [1.0] for name in members}, "knots": [0]})
        await server.refresh_model()
    assert (await world.lists.similar("crime-00", 5)).fallback_reason is None
