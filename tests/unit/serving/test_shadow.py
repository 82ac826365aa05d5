"""A candidate beside the champion: what people see does not change, what was seen of it is stored."""

from __future__ import annotations

from functools import partial

import pytest

from app import telemetry
from app.application.ranking.list_ranking import rank_list
from app.application.serving.model_server import ModelServer, ServingPolicy
from app.application.serving.shadow import MAX_WAITING, Shadow
from app.application.training.model_registry import ModelRegistry
from app.domain.list_query import ListQuery
from app.infrastructure.vector_store import open_vector_index
from app.models import RECOMMENDERS
from tests.unit.serving.world import BLEND, World

POPULAR = {"members": {"popularity": {}}, "weights": {"popularity": [1.0]}, "knots": [0]}


@pytest.fixture
def registry(world: World) -> ModelRegistry:
    return ModelRegistry(world.database, world.artifacts, RECOMMENDERS, world.clock)


async def shadow_of(world: World, registry: ModelRegistry, parameters: dict[str, object], share: float = 1.0) -> Shadow:
    """A candidate of this recipe, beside the champion that was there before."""
    champion = world.server.current.model
    assert champion is not None
    model = await world.train(parameters)
    await world.promote(champion.model_id)
    policy = ServingPolicy("hybrid", 0.05, 0.05, only_with_model=True, pinned=model.model_id)
    candidate = ModelServer(
        world.database, world.artifacts, RECOMMENDERS, world.clock, policy, partial(open_vector_index, "flat")
    )
    await candidate.start()
    shadow = Shadow(candidate, share, rank_list, registry.note_shadow)
    world.hooks.rank = shadow.rank
    return shadow


async def test_the_same_recipe_makes_the_same_lists_and_figures_are_stored_with_it(
    world: World, registry: ModelRegistry
) -> None:
    shadow = await shadow_of(world, registry, dict(BLEND))
    await world.rate("somebody", "crime-00")
    page = await world.lists.recommend(ListQuery("somebody"))

    await shadow.compare()
    await shadow.store()

    assert page.model is not None
    assert page.model.model_id == "model-1"
    stored = (await registry.notes("model-2"))["shadow"]
    assert isinstance(stored, dict)
    assert (stored["lists"], stored["overlap@10"]) == (1, 1.0)
    assert stored["candidate_ms_p95"] >= stored["candidate_ms_p50"] > 0
    assert await registry.notes("model-1") == {}


async def test_another_recipe_overlaps_less_and_only_the_newest_figures_stay(
    world: World, registry: ModelRegistry
) -> None:
    shadow = await shadow_of(world, registry, POPULAR)
    for reader in ("first", "second"):
        await world.rate(reader, "comedy-00", "comedy-01")
        await world.lists.recommend(ListQuery(reader))
        await shadow.compare()
        world.clock.now = world.clock.now.replace(second=world.clock.now.second + 1)
        await shadow.store()

    stored = (await registry.notes("model-2"))["shadow"]
    assert isinstance(stored, dict)
    assert stored["lists"] == 2
    assert stored["overlap@10"] < 0.8
    await shadow.store()


async def test_only_a_share_is_compared_and_what_comes_too_fast_is_dropped(
    world: World, registry: ModelRegistry
) -> None:
    shadow = await shadow_of(world, registry, dict(BLEND), share=0.5)
    dropped = telemetry.SHADOW_DROPPED._value.get()
    for reader in range(40):
        await world.rate(f"reader-{reader}", "crime-00")
        await world.lists.recommend(ListQuery(f"reader-{reader}"))
    drawn = len(shadow._asked)
    shadow._asked.extend([shadow._asked[0]] * MAX_WAITING)
    for reader in range(40, 60):
        await world.rate(f"reader-{reader}", "crime-00")
        await world.lists.recommend(ListQuery(f"reader-{reader}"))

    assert 8 <= drawn <= 32
    assert len(shadow._asked) == drawn + MAX_WAITING
    assert telemetry.SHADOW_DROPPED._value.get() > dropped
