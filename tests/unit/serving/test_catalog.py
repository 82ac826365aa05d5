"""The catalog as its editors use it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.domain.entities import Item, User
from app.domain.exceptions import InputError, NotFoundError
from app.domain.list_query import ListQuery
from tests.unit.serving.world import NOW, World, following


async def test_items_are_written_read_listed_and_removed(world: World) -> None:
    catalog = world.stack.catalog
    assert await catalog.put_items([Item("a", NOW, "A"), Item("b", NOW, "B")]) == 2

    assert (await catalog.get_item("a")).title == "A"
    assert [item.item_id for item in await catalog.list_items(None, 2)] == ["a", "b"]
    await catalog.remove_item("a")
    with pytest.raises(NotFoundError):
        await catalog.get_item("a")
    with pytest.raises(NotFoundError):
        await catalog.remove_item("unheard-of")


async def test_the_newest_of_two_versions_wins_and_none_may_come_from_the_future(world: World) -> None:
    catalog = world.stack.catalog
    await catalog.put_items([Item("a", NOW, "newer")])

    assert await catalog.put_items([Item("a", NOW - timedelta(seconds=1), "older")]) == 0
    assert (await catalog.get_item("a")).title == "newer"
    with pytest.raises(InputError):
        await catalog.put_items([Item("a", NOW + timedelta(minutes=6), "from the future")])


async def test_profiles_are_written_and_read_and_path_words_are_no_users(world: World) -> None:
    catalog = world.stack.catalog
    await catalog.put_users([User("u1", NOW, {"age": 34})])

    assert (await catalog.get_user("u1")).attributes == {"age": 34}
    with pytest.raises(NotFoundError):
        await catalog.get_user("u2")
    with pytest.raises(InputError):
        await catalog.put_users([User("train", NOW)])


async def test_an_item_opens_and_closes_by_the_clock_alone(world: World) -> None:
    opens, closes = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    window = Item("windowed", NOW, genres=("Crime",), available_from=opens, available_until=closes)
    async with following(world):
        await world.stack.catalog.put_items([window])
    await world.server.refresh_catalog()

    async def is_listed() -> bool:
        world.lists.forget(["crime-fan-1"])
        page = await world.lists.recommend(ListQuery("crime-fan-1", limit=100))
        return "windowed" in {line.item_id for line in page.items}

    assert not await is_listed()
    await world.cache.bump(["crime-fan-1"])
    world.clock.now = opens
    assert await is_listed()
    world.clock.now = closes
    assert not await is_listed()
