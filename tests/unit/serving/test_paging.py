"""Pages after the first: the list that began, whatever happens between two of them (issue: 4 repeated, 34 lost)."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app.domain.exceptions import CursorError, ExpiredCursorError
from app.domain.list_query import Filters, ListQuery, Page, RankedItem
from tests.unit.serving.world import ITEMS, NOW, World, open_world, rated

QUERY = ListQuery("crime-fan-1", limit=7, filters=Filters(exclude_seen=False))


async def next_page(world: World, page: Page, query: ListQuery = QUERY) -> Page:
    return await world.lists.next_pages.page(query, page.rest)


async def all_pages(world: World, first: Page, query: ListQuery = QUERY) -> list[RankedItem]:
    lines, page = list(first.items), first
    while page.rest:
        page = await next_page(world, page, query)
        lines += page.items
    return lines


async def whole(world: World, query: ListQuery = QUERY) -> list[RankedItem]:
    return list((await world.lists.recommend(replace(query, limit=100))).items)


async def an_event(world: World, draw: random.Random) -> None:
    await world.rate(QUERY.user_id, draw.choice(ITEMS).item_id)


async def another_model(world: World, draw: random.Random) -> None:
    weight = draw.random()
    await world.train(
        {
            "members": {"content": {}, "popularity": {}},
            "weights": {"content": [weight, -weight], "popularity": [1.0, weight]},
            "knots": [0, 1],
        }
    )
    await world.server.refresh_model()


async def a_catalog_change(world: World, draw: random.Random) -> None:
    item = draw.choice(ITEMS)
    new = replace(item, item_id=f"new-{draw.randrange(10**6)}", title=f"New {draw.random()}", genres=("Crime",))
    await world.database.catalog.upsert_items([replace(item, title=f"Again {draw.random()}"), new])
    await world.server.refresh_catalog()


async def a_lost_cache(world: World, draw: random.Random) -> None:
    await world.cache.bump([QUERY.user_id, "crime-fan-2"])
    world.lists.forget([QUERY.user_id])


CHANGES: tuple[Callable[[World, random.Random], Awaitable[None]], ...] = (
    an_event, another_model, a_catalog_change, a_lost_cache,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
async def test_no_item_comes_twice_and_none_is_lost_whatever_happens_between_pages(world: World, seed: int) -> None:
    draw = random.Random(seed)
    expected = await whole(world)
    page = await world.lists.recommend(replace(QUERY, limit=draw.randint(1, 9)))
    shown = list(page.items)
    while page.rest:
        for change in draw.choices(CHANGES, k=draw.randint(0, 3)):
            await change(world, draw)
        query = replace(QUERY, limit=draw.randint(1, 9))
        page = await next_page(world, page, query)
        assert page.offset == len(shown)
        shown += page.items

    assert [(line.item_id, line.rank, line.score, line.source) for line in shown] == [
        (line.item_id, line.rank, line.score, line.source) for line in expected
    ]
    assert page.total == len(expected)


async def test_another_process_goes_on_where_the_first_ended_without_a_common_cache(
    world: World, tmp_path: Path
) -> None:
    expected = await whole(world)
    first = await world.lists.recommend(QUERY)
    await world.rate(QUERY.user_id, "comedy-01")
    async with open_world(tmp_path / "world") as other:
        await other.stack.start()
        assert await all_pages(other, first) == expected


async def test_a_replica_that_does_not_know_a_new_item_yet_reads_the_catalog_first(
    world: World, tmp_path: Path
) -> None:
    async with open_world(tmp_path / "world") as behind:
        await behind.stack.start()
        await world.database.catalog.upsert_items([replace(ITEMS[-1], item_id="zz-new", title="New")])
        await world.server.refresh_catalog()
        first, expected = await world.lists.recommend(QUERY), await whole(world)
        assert "zz-new" in [line.item_id for line in expected[7:]]

        assert await all_pages(behind, first) == expected


async def test_pages_name_the_model_that_made_the_list_and_its_reasons_are_left_out_once_they_are_false(
    world: World,
) -> None:
    query = replace(QUERY, explain=True)
    first = await world.lists.recommend(query)
    second = await next_page(world, first, query)
    assert second.model == first.model
    for line in second.items:
        assert line.reasons
        assert sum(reason.contribution for reason in line.reasons) == pytest.approx(line.score, abs=1e-5)

    await world.rate(QUERY.user_id, "comedy-03", "comedy-04", "comedy-05")
    third = await next_page(world, second, query)
    assert third.items
    assert all(not line.reasons for line in third.items)

    await another_model(world, random.Random(1))
    third = await next_page(world, second, query)
    assert third.model == first.model
    assert third.as_of == first.as_of


async def test_what_was_withdrawn_is_not_shown_and_the_others_move_up(world: World) -> None:
    expected = await whole(world)
    first = await world.lists.recommend(QUERY)
    gone = expected[9].item_id
    await world.database.catalog.remove_items([gone], world.clock())
    await world.server.refresh_catalog()

    lines = await all_pages(world, first)

    assert [line.item_id for line in lines] == [line.item_id for line in expected if line.item_id != gone]
    assert [line.rank for line in lines] == list(range(1, len(expected)))


async def test_a_cursor_ends_after_its_hour_and_says_so(world: World) -> None:
    first = await world.lists.recommend(QUERY)
    world.clock.now = NOW + timedelta(seconds=3_599)
    assert (await next_page(world, first)).items
    world.clock.now = NOW + timedelta(seconds=3_600)
    with pytest.raises(ExpiredCursorError):
        await next_page(world, first)


@pytest.mark.parametrize("data", [b"", b"v7", b"\x78\x01\x03\x00\x00\x00\x00\x01"])
async def test_the_cursor_of_another_kind_of_list_is_refused(world: World, data: bytes) -> None:
    with pytest.raises(CursorError):
        await world.lists.next_pages.page(QUERY, data)


async def test_the_fallback_of_people_without_history_goes_on_as_it_began(world: World) -> None:
    query = replace(QUERY, user_id="nobody-yet")
    expected = await whole(world, query)
    first = await world.lists.recommend(query)
    await world.stack.events.ingest([rated("nobody-yet", "comedy-01")])

    second = await next_page(world, first, query)

    assert (second.is_fallback, second.fallback_reason) == (True, "no_history")
    assert await all_pages(world, first, query) == expected
