"""When something is gone: an answer all the same, honest about it, and back to normal by itself."""

from __future__ import annotations

import asyncio
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from app import telemetry
from app.application.recommending.list_policy import ListPolicy
from app.domain.entities import IngestOutcome
from app.domain.exceptions import OverloadedError
from app.domain.interfaces import CacheReply
from app.domain.list_query import ListQuery
from tests.unit.serving.world import World, following, open_world


async def test_without_the_database_a_cached_list_is_served_and_others_are_popular(world: World) -> None:
    await world.rate("somebody", "crime-05")
    known = await world.lists.recommend(ListQuery("somebody"))
    world.database_switch.is_on = False

    again = await world.lists.recommend(ListQuery("somebody"))
    other = await world.lists.recommend(ListQuery("crime-fan-1"))

    assert again.items == known.items
    assert not again.is_fallback
    assert (other.is_fallback, other.fallback_reason) == (True, "database_unavailable")
    assert len(other.items) == 10


async def test_a_fallback_is_not_kept_once_the_database_is_back(world: World) -> None:
    world.database_switch.is_on = False
    assert (await world.lists.recommend(ListQuery("crime-fan-1"))).is_fallback
    world.database_switch.is_on = True

    page = await world.lists.recommend(ListQuery("crime-fan-1"))

    assert not page.is_fallback
    assert "crime-00" not in {line.item_id for line in page.items}


async def test_without_database_and_model_the_last_count_is_served(untrained_world: World) -> None:
    before = await untrained_world.lists.recommend(ListQuery("somebody"))
    untrained_world.database_switch.is_on = False

    page = await untrained_world.lists.recommend(ListQuery("somebody"))

    assert (page.items, page.fallback_reason) == (before.items, "no_model")


async def test_without_the_cache_lists_are_computed_and_nobody_counts(world: World) -> None:
    await world.rate("somebody", "crime-05")
    expected = await world.lists.recommend(ListQuery("somebody"))
    world.cache_switch.is_on = False
    world.lists.forget(["somebody"])

    answer = await world.lists.answer(ListQuery("somebody"), 500, "caller")

    assert answer.quota is None
    assert answer.page is not None
    assert answer.page.items == expected.items
    assert not answer.page.is_fallback


async def test_without_the_cache_a_list_in_hand_is_given_until_an_event_changes_it(world: World) -> None:
    await world.rate("somebody", "crime-05")
    expected = await world.lists.recommend(ListQuery("somebody"))
    world.cache_switch.is_on = False

    again = await world.lists.recommend(ListQuery("somebody"))
    await world.rate("somebody", expected.items[0].item_id)
    changed = await world.lists.recommend(ListQuery("somebody"))

    assert (again.from_cache, again.etag) == (True, expected.etag)
    assert not changed.from_cache
    assert expected.items[0].item_id not in {line.item_id for line in changed.items}


async def test_an_event_taken_in_without_the_cache_is_accepted_and_its_list_renewed_later(world: World) -> None:
    before = await world.lists.recommend(ListQuery("somebody"))
    world.cache_switch.is_on = False

    outcomes = await world.rate("somebody", "crime-05")
    world.cache_switch.is_on = True

    assert [event.outcome for event in outcomes] == [IngestOutcome.ACCEPTED]
    async with following(world), asyncio.timeout(60):
        while (await world.lists.recommend(ListQuery("somebody"))).etag == before.etag:  # noqa: ASYNC110 - as a client
            await asyncio.sleep(0.01)


async def test_beyond_what_can_be_computed_the_popular_list_is_given_or_the_request_is_shed(
    trained_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(trained_folder, tmp_path / "world"))
    async with open_world(folder, ListPolicy(threads=1, max_waiting=2)) as world:
        await world.stack.start()
        release = threading.Event()
        busy = [asyncio.create_task(world.lists.pool.run(release.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await world.lists.recommend(ListQuery("crime-fan-1"))
        release.set()
        await asyncio.gather(*busy)
        await world.lists.recommend(ListQuery("somebody"))
        release.clear()
        busy = [asyncio.create_task(world.lists.pool.run(release.wait)) for _ in range(2)]
        await asyncio.sleep(0)

        page = await world.lists.recommend(ListQuery("crime-fan-1"))
        release.set()
        await asyncio.gather(*busy)

        assert (page.is_fallback, page.fallback_reason) == (True, "overloaded")
        assert len(page.items) == 10
        assert not (await world.lists.recommend(ListQuery("crime-fan-1"))).is_fallback


async def test_a_renewal_that_fails_is_counted_and_the_stale_list_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> NoReturn:
        raise ValueError

    def failures() -> float:
        return telemetry.REGISTRY.get_sample_value("encore_background_failures_total", {"task": "stale_list"}) or 0.0

    await world.rate("u1", "crime-05")
    first, before = await world.lists.recommend(ListQuery("u1")), failures()
    kept = world.cache.read

    async def stale(user_id: str, variant: str, limit: int | None, limit_key: str = "") -> CacheReply:
        return replace(await kept(user_id, variant, limit, limit_key), has_lease=True)

    monkeypatch.setattr(world.cache, "read", stale)
    monkeypatch.setattr(world.hooks, "rank", broken)

    shown = await world.lists.recommend(ListQuery("u1"))
    async with asyncio.timeout(60):
        while failures() == before:  # noqa: ASYNC110 - as scraped
            await asyncio.sleep(0.01)

    assert [item.item_id for item in shown.items] == [item.item_id for item in first.items]
