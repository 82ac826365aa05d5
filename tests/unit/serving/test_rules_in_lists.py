"""Rules, diversity and exploration in the lists that people get."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from app.application.outgoing.outbox_relay import BackgroundEvents
from app.application.recommending.list_policy import ListPolicy
from app.application.recommending.refresh_events import publish_to
from app.domain.entities import Item
from app.domain.exceptions import NotFoundError
from app.domain.exploration import Exploration
from app.domain.list_query import Filters, ListQuery, Page, SessionEvent, SessionQuery
from app.domain.reranking import RankingPolicy
from app.domain.rules import RerankOptions, read_rules
from app.infrastructure.events.memory_publisher import MemoryPublisher
from tests.unit.serving.world import NOW, World, open_world

Opener = Callable[..., Awaitable[World]]
FAN = "somebody"


@pytest.fixture
async def open_with_rules(trained_folder: Path, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens the trained world with these rules (and other settings of lists); a fan of crime has rated three."""
    numbers = itertools.count()
    async with AsyncExitStack() as stack:

        async def opened(*rules: dict[str, object], size: int = 100, **ranking_policy: object) -> World:
            folder = Path(shutil.copytree(trained_folder, tmp_path / f"world-{next(numbers)}"))
            settled = RankingPolicy(read_rules(rules), **ranking_policy)  # type: ignore[arg-type]  # the fields of House
            world = await stack.enter_async_context(open_world(folder, ListPolicy(size=size), ranking_policy=settled))
            await world.stack.start()
            await world.rate(FAN, "crime-00", "crime-01", "crime-02")
            return world

        yield opened


def rule(kind: str, name: str = "rule", **fields: object) -> dict[str, object]:
    select = {key: fields.pop(key) for key in ("items", "genres", "tags", "attributes") if key in fields}
    return {"kind": kind, "name": name, "select": select, **fields}


def ids(page: Page) -> list[str]:
    return [item.item_id for item in page.items]


async def listed(world: World, limit: int = 10, **fields: object) -> list[str]:
    return ids(await world.lists.recommend(ListQuery(FAN, limit=limit, **fields)))  # type: ignore[arg-type] # its fields


async def test_what_is_blocked_appears_in_no_list_of_any_kind(open_with_rules: Opener) -> None:
    world = await open_with_rules(rule("block", genres=["CRIME"]), rule("block", "one", items=["comedy-00"]))
    crime = Filters(genres=frozenset({"crime"}))

    pages = [
        await world.lists.recommend(ListQuery(FAN, limit=100)),
        await world.lists.recommend(ListQuery(FAN, limit=100, filters=crime)),
        await world.lists.recommend(ListQuery("nobody-knows-me", limit=100)),
        await world.lists.session(SessionQuery((SessionEvent("crime-00"),), limit=100)),
        await world.lists.similar("comedy-01", 100),
        await world.lists.popular(None, None, 100),
        await world.lists.popular(None, timedelta(days=7), 100),
    ]
    world.database_switch.is_on = False
    pages.append(await world.lists.recommend(ListQuery("somebody-else", limit=100)))

    assert pages[-1].is_fallback
    for page in pages:
        assert not [item for item in ids(page) if item.startswith("crime") or item == "comedy-00"]
    assert len(pages[0].items) == 19
    with pytest.raises(NotFoundError):
        await world.lists.similar("crime-05", 10)


async def test_what_is_blocked_is_not_counted_as_popular_without_a_model(
    untrained_world: World, populated_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(populated_folder, tmp_path / "other"))
    async with open_world(folder, ranking_policy=RankingPolicy(read_rules([rule("block", genres=["crime"])]))) as world:
        await world.stack.start()
        page = await world.lists.recommend(ListQuery("u1", limit=100))

    assert page.fallback_reason == "no_model"
    assert page.items
    assert not [item for item in ids(page) if item.startswith("crime")]


async def test_a_pinned_item_stands_in_its_place_and_says_so(open_with_rules: Opener) -> None:
    world = await open_with_rules(rule("pin", items=["comedy-19"], position=2))

    page = await world.lists.recommend(ListQuery(FAN, explain=True))

    assert [item.source for item in page.items].count("pinned") == 1
    assert (page.items[1].item_id, page.items[1].source) == ("comedy-19", "pinned")
    assert page.items[1].reasons[-1].kind == "pinned"
    for item in page.items:
        assert sum(reason.contribution for reason in item.reasons) == pytest.approx(item.score, abs=1e-5)


async def test_a_pin_does_not_show_what_may_not_be_shown(open_with_rules: Opener) -> None:
    world = await open_with_rules(
        rule("pin", items=["comedy-19", "crime-01", "unheard-of"]), rule("block", "no", items=["comedy-19"])
    )

    assert "pinned" not in {item.source for item in (await world.lists.recommend(ListQuery(FAN, limit=100))).items}


async def test_a_boost_lifts_and_a_negative_one_sinks(open_with_rules: Opener) -> None:
    usual = await listed(await open_with_rules())
    lifted = await listed(await open_with_rules(rule("boost", genres=["comedy"], by=10)))
    sunk = await listed(await open_with_rules(rule("boost", genres=["crime"], by=-10)))

    assert all(item.startswith("crime") for item in usual)
    assert all(item.startswith("comedy") for item in lifted)
    assert all(item.startswith("comedy") for item in sunk)


async def test_a_quota_holds_in_the_first_ten_and_the_list_stays_full(open_with_rules: Opener) -> None:
    world = await open_with_rules(rule("quota", genres=["crime"], at_most=3, within=10))

    shown = await listed(world, 100)

    assert sum(item.startswith("crime") for item in shown[:10]) == 3
    assert len(shown) == 37
    assert len(await listed(world, 10, filters=Filters(genres=frozenset({"crime"})))) == 10


async def test_a_quota_promises_places_to_items_far_down(open_with_rules: Opener) -> None:
    world = await open_with_rules(rule("quota", items=["comedy-19", "comedy-18"], at_least=2, within=5), size=5)

    assert {"comedy-19", "comedy-18"} <= set(await listed(world, 5))


async def test_a_list_ends_when_a_rule_begins(open_with_rules: Opener) -> None:
    begins = (NOW + timedelta(minutes=5)).isoformat()
    world = await open_with_rules(rule("block", genres=["crime"], since=begins))
    before = await listed(world)

    world.clock.now = NOW + timedelta(minutes=5)

    assert all(item.startswith("crime") for item in before)
    assert all(item.startswith("comedy") for item in await listed(world))


async def test_a_window_shows_its_items_in_its_time_only(open_with_rules: Opener) -> None:
    since, until = ((NOW + timedelta(minutes=minutes)).isoformat() for minutes in (5, 10))
    world = await open_with_rules(rule("window", genres=["crime"], since=since, until=until))
    shown = []
    for minutes in (0, 5, 10):
        world.clock.now = NOW + timedelta(minutes=minutes)
        shown.append((await listed(world))[0][:5])

    assert shown == ["comed", "crime", "comed"]


async def test_rules_by_tag_and_attribute_follow_the_catalog(open_with_rules: Opener) -> None:
    world = await open_with_rules(
        rule("block", tags=["Recalled"]), rule("block", "studio", attributes={"studio": ["acme"], "year": ["3"]})
    )
    item = Item("comedy-05", NOW, "Comedy Co5", genres=("Comedy",), year=2005)
    changes = {
        "comedy-05": replace(item, tags=("recalled",)),
        "comedy-06": replace(item, item_id="comedy-06", title="Another", attributes={"studio": ["ACME"], "year": 3}),
        "comedy-07": replace(item, item_id="comedy-07", title="A third", attributes={"studio": "acme"}),
    }
    before = await listed(world, 100)
    await world.database.catalog.upsert_items(list(changes.values()))
    await world.server.refresh_catalog()

    gone = set(before) - set(await listed(world, 100))

    assert gone == {"comedy-05", "comedy-06"}


async def test_rules_of_a_request_come_on_top_and_last_for_that_request_alone(open_with_rules: Opener) -> None:
    world = await open_with_rules(rule("block", items=["crime-03"]))
    mine = RerankOptions(rules=read_rules([rule("block", items=["crime-04"]), rule("pin", "p", items=["comedy-19"])]))

    shaped, usual = await listed(world, 100, shape=mine), await listed(world, 100)

    assert (shaped[0], "crime-03" in shaped, "crime-04" in shaped) == ("comedy-19", False, False)
    assert ("crime-03" in usual, "crime-04" in usual) == (False, True)
    again = await world.lists.recommend(ListQuery(FAN, limit=100, shape=mine))
    assert (ids(again), again.from_cache) == (shaped, True)


async def test_of_one_title_and_year_only_the_better_one_is_in_a_list_unless_nothing_else_is_left(
    open_with_rules: Opener,
) -> None:
    world = await open_with_rules(size=20)
    twin = Item("crime-twin", NOW, "crime  CR5", genres=("Crime",), year=1955)
    await world.database.catalog.upsert_items([twin])
    await world.server.refresh_catalog()

    shown = await listed(world, 20)
    every = await listed(world, 20, filters=Filters(genres=frozenset({"crime"})))

    assert len(shown) == 20
    assert len({"crime-05", "crime-twin"} & set(shown)) == 1
    assert len(every) == 18
    assert every[-1] in {"crime-05", "crime-twin"}


async def test_diversity_mixes_genres_and_keeps_scores_and_reasons_true(open_with_rules: Opener) -> None:
    usual = await open_with_rules()
    mixed = await open_with_rules(diversity=0.6)

    page = await mixed.lists.recommend(ListQuery(FAN, explain=True))

    assert len({item[:5] for item in await listed(usual)}) == 1
    assert len({item[:5] for item in ids(page)}) == 2
    assert ids(page)[0] == (await listed(usual))[0]
    assert ids(page) == await listed(usual, shape=RerankOptions(0.6))
    assert await listed(mixed, shape=RerankOptions(0.0)) == await listed(usual)
    for item in page.items:
        assert sum(reason.contribution for reason in item.reasons) == pytest.approx(item.score, abs=1e-5)


async def test_one_place_explores_with_its_propensity_and_stays_the_same_until_the_list_changes(
    open_with_rules: Opener,
) -> None:
    world = await open_with_rules(size=20, exploration=Exploration(0.5, position=5, pool=10))
    explored, kept = set(), 0
    for number in range(40):
        await world.rate(f"explorer-{number}", "crime-00", "crime-01")
        query = ListQuery(f"explorer-{number}", limit=20, explain=True)
        page, again = await world.lists.recommend(query), await world.lists.recommend(query)
        assert (ids(page), again.from_cache) == (ids(again), True)
        assert len(set(ids(page))) == 20
        place = page.items[4]
        assert {item.propensity for item in page.items if item is not place} == {1.0}
        if place.source == "explored":
            explored.add(place.item_id)
            assert place.propensity == pytest.approx(0.5 / 10)
            assert place.reasons[-1].kind == "explored"
        else:
            kept += 1
            assert place.propensity == 0.5
    assert 5 <= kept <= 35
    assert len(explored) > 3


async def test_who_listens_learns_which_place_explores_and_with_what_chance(open_with_rules: Opener) -> None:
    world = await open_with_rules(size=20, exploration=Exploration(0.5, position=5, pool=10))
    publisher = MemoryPublisher()
    told = BackgroundEvents(publisher, world.clock)
    world.hooks.refreshed = publish_to(told)
    shown = {}
    for number in range(8):
        await world.rate(f"explorer-{number}", "crime-00", "crime-01")
        page = await world.lists.recommend(ListQuery(f"explorer-{number}", limit=20))
        shown[f"explorer-{number}"] = page.items[4].propensity
    await told.flush(1.0)

    events = [msgspec.json.decode(message.payload) for message in publisher.messages]
    assert {event["explored_place"] for event in events} == {4}
    assert {event["user_id"]: event["propensity"] for event in events} == shown
    assert len(set(shown.values())) == 2


async def test_an_item_the_model_never_saw_is_explored_first(open_with_rules: Opener) -> None:
    world = await open_with_rules(size=5, exploration=Exploration(0.5, position=5, pool=1))
    await world.database.catalog.upsert_items([Item("fresh", NOW, "Fresh", genres=("Western",))])
    await world.server.refresh_catalog()
    shown = set()
    for number in range(20):
        await world.rate(f"explorer-{number}", "crime-00", "crime-01")
        shown |= set(ids(await world.lists.recommend(ListQuery(f"explorer-{number}", limit=5))))

    assert "fresh" in shown


async def test_other_settings_make_other_lists_in_a_shared_cache(open_with_rules: Opener) -> None:
    labels = {
        (await open_with_rules(*rules, **ranking_policy)).server.current.label
        for rules, ranking_policy in [((), {}), ((rule("block", items=["a"]),), {}), ((), {"diversity": 0.1})]
    }

    assert len(labels) == 3
