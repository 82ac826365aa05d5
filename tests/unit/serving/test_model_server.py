"""Following champion and catalog: only what is verified is served, and every answer is of one piece."""

from __future__ import annotations

import asyncio
import io
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from app import telemetry
from app.domain.catalog_view import CatalogView
from app.domain.dataset import IdMap
from app.domain.entities import Item
from app.domain.exceptions import DatabaseUnavailableError
from app.domain.list_query import Filters, ListQuery
from tests.unit.serving.world import BLEND, ITEMS, NOW, World, following, open_world

TITLES = {item.item_id: str(item.title) for item in ITEMS}
CRIME_ONLY = Filters(genres=frozenset({"crime"}))


async def listed(world: World, user_id: str, limit: int = 100) -> list[str]:
    return [line.item_id for line in (await world.lists.recommend(ListQuery(user_id, limit=limit))).items]


async def served(world: World) -> str | None:
    page = await world.lists.recommend(ListQuery("somebody"))
    return None if page.model is None else page.model.model_id


async def test_a_new_champion_is_served_within_a_moment(world: World) -> None:
    async with following(world), asyncio.timeout(60):
        added = await world.train()
        while await served(world) != added.model_id:  # noqa: ASYNC110 - as a client would ask
            await asyncio.sleep(0.01)


async def test_a_rollback_is_followed(world: World) -> None:
    await world.train()
    await world.server.refresh_model()
    await world.promote("model-1")

    assert await world.server.refresh_model()

    assert world.server.current.model is not None
    assert world.server.current.model.model_id == "model-1"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
async def test_a_damaged_model_is_refused_and_the_good_one_serves_on(world: World, tmp_path: Path, damage: str) -> None:
    before = await listed(world, "crime-fan-1")
    refused = telemetry.MODEL_SWAPS.labels("hybrid", "refused")._value.get()
    model = await world.train({**BLEND, "knots": [0, 2]})
    [part] = (tmp_path / "world" / "artifacts" / str(model.artifact_key)).glob("*.safetensors")
    data = bytearray(part.read_bytes())
    part.chmod(0o600)
    if damage == "missing":
        part.unlink()
    elif damage == "truncated":
        part.write_bytes(data[:-1])
    else:
        data[len(data) // 2] ^= 1
        part.write_bytes(data)

    assert not await world.server.refresh_model()
    assert not await world.server.refresh_model()

    assert await listed(world, "crime-fan-1") == before
    assert world.server.current.model is not None
    assert world.server.current.model.model_id == "model-1"
    # Tried once, then left alone for a while.
    assert telemetry.MODEL_SWAPS.labels("hybrid", "refused")._value.get() == refused + 1


async def test_a_new_item_is_recommended_to_those_who_like_its_genre_within_a_second(world: World) -> None:
    item = Item("crime-new", NOW, "Brand new", genres=("Crime",))
    assert "crime-new" not in await listed(world, "crime-fan-1")

    async with following(world), asyncio.timeout(60):
        await world.stack.catalog.put_items([item])
        while "crime-new" not in await listed(world, "crime-fan-1"):  # noqa: ASYNC110 - as a client would ask
            await asyncio.sleep(0.01)

    page = await world.lists.recommend(ListQuery("crime-fan-1", type="content", limit=100))
    ranks = {line.item_id: line.rank for line in page.items}
    assert ranks["crime-new"] < min(rank for item_id, rank in ranks.items() if item_id.startswith("comedy"))
    assert [line.card for line in page.items if line.item_id == "crime-new"] == [
        b'"title":"Brand new","metadata":{"genres":["Crime"],"tags":[],"year":null}'
    ]


async def test_events_about_an_item_the_model_never_saw_make_a_personal_list(world: World) -> None:
    await world.stack.catalog.put_items([Item("comedy-new", NOW, "Brand new", genres=("Comedy",))])
    await world.server.refresh_catalog()
    await world.rate("somebody", "comedy-new")

    page = await world.lists.recommend(ListQuery("somebody"))

    assert not page.is_fallback
    assert all(line.item_id.startswith("comedy") and line.item_id != "comedy-new" for line in page.items)


async def test_a_list_with_new_items_survives_the_shared_cache(world: World) -> None:
    for item_id in ("crime-x", "crime-y"):
        await world.stack.catalog.put_items([Item(item_id, NOW, genres=("Crime",))])
        await world.server.refresh_catalog()
    computed = await listed(world, "crime-fan-1")
    world.lists.forget(["crime-fan-1"])

    page = await world.lists.recommend(ListQuery("crime-fan-1", limit=100))

    assert page.from_cache
    assert [line.item_id for line in page.items] == computed
    assert {"crime-x", "crime-y"} <= set(computed)


async def test_a_retitled_item_changes_its_card_and_not_the_list(world: World) -> None:
    before = await world.lists.recommend(ListQuery("crime-fan-1"))
    first = before.items[0]
    item = await world.stack.catalog.get_item(first.item_id)
    await world.stack.catalog.put_items([Item(first.item_id, NOW, "Another title", genres=item.genres, year=item.year)])
    await world.server.refresh_catalog()

    after = await world.lists.recommend(ListQuery("crime-fan-1"))

    assert after.from_cache
    assert [line.item_id for line in after.items] == [line.item_id for line in before.items]
    assert after.items[0].card.startswith(b'"title":"Another title"')
    assert after.etag != before.etag


async def test_swaps_under_load_never_mix_two_models(world: World) -> None:
    """The second model knows one item more, so the two lay out the same catalog differently.

    A hundred swaps of a running server: benchmarks/swaps.py.
    """
    await world.stack.catalog.put_items([Item("action-1st", NOW, genres=("Crime",))])
    second = await world.train()
    await world.server.refresh_catalog()
    expected: dict[str, tuple[str, ...]] = {}
    answers: dict[str, int] = {"model-1": 0, second.model_id: 0}
    stop = asyncio.Event()

    async def ask(explain: bool) -> None:
        while not stop.is_set():
            page = await world.lists.recommend(ListQuery("crime-fan-1", limit=100, explain=explain))
            assert page.model is not None
            items = tuple(f"{line.item_id} {line.score}" for line in page.items)
            assert items == expected.setdefault(page.model.model_id, items)
            assert all(TITLES.get(line.item_id, "null") in line.card.decode() for line in page.items)
            answers[page.model.model_id] += 1
            await asyncio.sleep(0.005)

    readers = [asyncio.create_task(ask(explain)) for explain in (False, False, True)]
    for swap in range(40):
        await world.promote("model-1" if swap % 2 else second.model_id)
        assert await world.server.refresh_model()
        world.lists.forget(["crime-fan-1"])
    stop.set()
    await asyncio.gather(*readers)

    assert all(count > 10 for count in answers.values())
    assert len(expected) == 2
    assert len(set(expected.values())) == 2


async def test_a_catalog_above_the_threshold_is_searched_by_index_and_gives_the_same_lists(
    trained_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(trained_folder, tmp_path / "world"))
    async with open_world(folder) as plain:
        await plain.stack.start()
        await plain.rate("somebody", "crime-05", "comedy-03")
        expected = await plain.lists.recommend(ListQuery("somebody", limit=100))
    async with open_world(folder, index_above=10) as indexed:
        await indexed.stack.start()
        assert indexed.server.current.candidates is not None
        page = await indexed.lists.recommend(ListQuery("somebody", limit=100))
        filtered = await indexed.lists.recommend(ListQuery("somebody", limit=20, filters=CRIME_ONLY))

    assert page.items == expected.items
    assert len(filtered.items) == 19
    told = telemetry.REGISTRY.get_sample_value(
        "encore_vector_index_recall", {"model_type": "hybrid", "tower": "content"}
    )
    assert told == 1.0


async def test_a_server_starts_and_follows_without_anything_there(empty_world: World) -> None:
    async with following(empty_world), asyncio.timeout(60):
        await empty_world.populate()
        await empty_world.train()
        while empty_world.server.current.model is None:  # noqa: ASYNC110 - polled as by an operator
            await asyncio.sleep(0.01)

    assert len(empty_world.server.current.view) == 40


def test_views_of_different_layouts_are_told_apart() -> None:
    first, second = CatalogView.of_model(IdMap(["a"])), CatalogView.of_model(IdMap(["a"]))

    assert first.layout != second.layout
    assert first.updated([Item("b", NOW)], (), 1).layout == first.layout


async def test_a_database_that_stays_away_is_told_once_and_counted_each_time(
    world: World, log_stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_revision: int, _limit: int) -> NoReturn:
        raise DatabaseUnavailableError("away")

    def failures() -> float:
        return telemetry.REGISTRY.get_sample_value("encore_background_failures_total", {"task": "catalogue"}) or 0.0

    before = failures()
    async with following(world), asyncio.timeout(60):
        monkeypatch.setattr(world.database.catalog, "items_since", refuse)
        while failures() < before + 3:
            world.server.wake_catalog()
            await asyncio.sleep(0.01)
        monkeypatch.undo()
        while "follow_recovered" not in log_stream.getvalue():
            world.server.wake_catalog()
            await asyncio.sleep(0.01)

    told_of = [line for line in log_stream.getvalue().splitlines() if "catalogue" in line]
    assert sum("follow_failed" in line for line in told_of) == 1
