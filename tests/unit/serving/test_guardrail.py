"""The served model under its guardrail: the real service, its lists, and a fall-back that happens once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from app import telemetry
from app.application.ranking.list_ranking import RankingTask, rank_list
from app.application.ranking.serving_state import ServingState
from app.application.serving.counting_ranker import CountingRanker
from app.application.serving.guardrail import Guardrail
from app.application.training.model_registry import ModelRegistry
from app.domain.dataset import Histories
from app.domain.entities import ModelVersion
from app.domain.guardrail_policy import GuardrailPolicy, ListCounts
from app.domain.list_query import Filters, ListQuery
from app.domain.ranked_list import RankedList
from app.domain.recommender import Scorer
from app.models import RECOMMENDERS
from tests.unit.serving.world import NOW, World

POLICY = GuardrailPolicy(min_lists=20)


@dataclass
class Watched:
    """The world with a guardrail."""

    world: World
    served: CountingRanker
    registry: ModelRegistry
    guardrail: Guardrail

    async def replica(self) -> Guardrail:
        """Another process that has seen the same lists."""
        other = Guardrail(self.world.server, self.served, self.registry, POLICY)
        await other.check()
        return other

    async def champion(self) -> str:
        champion = await self.world.database.models.champion("hybrid")
        assert champion is not None
        return champion.model.model_id

    async def swap(self) -> ModelVersion:
        """Another model, served."""
        model = await self.world.train()
        await self.world.server.refresh_model()
        await self.guardrail.check()
        return model

    async def show(self, people: Sequence[int], prefix: str) -> None:
        """A list each, made anew."""
        for number in people:
            await self.world.rate(f"{prefix}-{number}", "crime-00")
            await self.world.lists.recommend(ListQuery(f"{prefix}-{number}"))


@pytest.fixture
async def watched(world: World) -> Watched:
    served = CountingRanker(POLICY.window_seconds)
    world.hooks.rank = served.rank
    registry = ModelRegistry(world.database, world.artifacts, RECOMMENDERS, world.clock)
    guardrail = Guardrail(world.server, served, registry, POLICY)
    await guardrail.check()
    return Watched(world, served, registry, guardrail)


class Emptied:
    """Lists of one model come out empty, or not at all."""

    def __init__(self, served: CountingRanker, model_id: str, *, fails: bool = False) -> None:
        self._served = served
        self._model_id = model_id
        self._fails = fails

    def rank(self, serving: ServingState, task: RankingTask, now: datetime) -> RankedList:
        if serving.model is not None and serving.model.model_id == self._model_id:
            if self._fails:
                serving = ServingState(serving.view, serving.model, None, Broken())
            else:
                serving = ServingState(
                    serving.view.updated([], serving.view.ids.ids, 99), serving.model, serving.recommender
                )
        return self._served.rank(serving, task, now)


class Broken(Scorer):
    """A scorer that cannot score."""

    name = "broken"

    @property
    def n_items(self) -> int:
        return 40

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
        raise RuntimeError("no scores")


async def test_a_model_whose_lists_are_empty_falls_back_once_and_says_why(watched: Watched) -> None:
    first = await watched.champion()
    bad = await watched.swap()
    watched.world.hooks.rank = Emptied(watched.served, bad.model_id).rank
    other = await watched.replica()
    await watched.show(range(25), "reader")
    breaches = telemetry.GUARDRAIL_BREACHES.labels("hybrid", "rolled_back")
    before = breaches._value.get()

    reason = await watched.guardrail.check()

    assert reason is not None
    assert "100.0% of 25 lists empty" in reason
    assert await watched.champion() == first
    assert (await other.check(), await watched.guardrail.check()) == (None, None)
    assert breaches._value.get() == before + 1
    notes = await watched.registry.notes(bad.model_id)
    fallback = notes["fallback"]
    assert isinstance(fallback, dict)
    assert (fallback["reason"], fallback["to"], fallback["served"]["empty"]) == (reason, first, 25)
    assert set(await watched.registry.notes(first)) == {"restored"}
    await watched.world.server.refresh_model()
    current = watched.world.server.current.model
    assert current is not None
    assert current.model_id == first


async def test_lists_that_fail_count_too(watched: Watched) -> None:
    first, bad = await watched.champion(), await watched.swap()
    watched.world.hooks.rank = Emptied(watched.served, bad.model_id, fails=True).rank
    for number in range(25):
        await watched.world.rate(f"reader-{number}", "crime-00")
        with pytest.raises(RuntimeError):
            await watched.world.lists.recommend(ListQuery(f"reader-{number}"))

    assert "100.0% of 25 lists failed" in str(await watched.guardrail.check())
    assert await watched.champion() == first


async def test_the_model_that_was_restored_does_not_fall_until_somebody_promotes_again(watched: Watched) -> None:
    first, bad = await watched.champion(), await watched.swap()
    watched.served._count(bad.model_id, ListCounts(lists=100, empty=100))
    watched.world.clock.now = NOW + timedelta(minutes=1)
    assert await watched.guardrail.check() is not None
    await watched.world.server.refresh_model()

    watched.served._count(first, ListCounts(lists=1_000, empty=1_000))

    assert await watched.guardrail.check() is None
    assert await watched.champion() == first


async def test_with_an_earlier_model_left_the_restored_one_still_does_not_fall(watched: Watched) -> None:
    """Of three: with two, nothing earlier would be left after the first fall, and any code would stop there."""
    _first, second, third = await watched.champion(), await watched.swap(), await watched.swap()
    watched.served._count(third.model_id, ListCounts(lists=100, empty=100))
    watched.world.clock.now = NOW + timedelta(minutes=1)
    assert await watched.guardrail.check() is not None
    assert await watched.champion() == second.model_id
    await watched.world.server.refresh_model()

    watched.served._count(second.model_id, ListCounts(lists=1_000, empty=1_000))
    watched.world.clock.now = NOW + timedelta(minutes=2)

    assert await watched.guardrail.check() is None
    assert await (await watched.replica()).check() is None
    assert await watched.champion() == second.model_id


async def test_with_nothing_to_fall_back_to_the_model_stays_and_is_counted_once(watched: Watched) -> None:
    only = await watched.champion()
    watched.served._count(only, ListCounts(lists=100, empty=100))
    kept = telemetry.GUARDRAIL_BREACHES.labels("hybrid", "kept")
    before = kept._value.get()

    assert (await watched.guardrail.check(), await watched.guardrail.check()) == (None, None)

    assert kept._value.get() == before + 1
    assert await watched.champion() == only


async def test_another_champion_is_none_of_this_replicas_business(watched: Watched) -> None:
    bad = await watched.swap()
    better = await watched.world.train()
    watched.served._count(bad.model_id, ListCounts(lists=100, empty=100))

    assert await watched.guardrail.check() is None
    assert await watched.champion() == better.model_id


async def test_a_list_is_taken_up_when_its_person_goes_on_with_one_of_its_first_ten(watched: Watched) -> None:
    model_id = await watched.champion()
    page = None
    for reader in ("follows", "differs", "silent"):
        await watched.world.rate(reader, "crime-00")
        page = await watched.world.lists.recommend(ListQuery(reader))
    assert page is not None
    later = (NOW + timedelta(minutes=5)).isoformat()
    for reader, item in (("follows", page.items[9].item_id), ("differs", "comedy-19")):
        event = {"user_id": reader, "video_id": item, "rating": 5.0, "timestamp": later}
        watched.world.clock.now = NOW + timedelta(minutes=6)
        await watched.world.stack.events.ingest([event])
        await watched.world.lists.recommend(ListQuery(reader))

    assert watched.served.tally(model_id) == ListCounts(lists=5, answered=2, hits=1)


async def test_lists_with_filters_may_be_empty(watched: Watched) -> None:
    await watched.world.rate("reader", "crime-00")
    page = await watched.world.lists.recommend(ListQuery("reader", filters=Filters(genres=frozenset({"western"}))))

    assert not page.items
    assert watched.served.tally(await watched.champion()) == ListCounts()


def test_the_window_slides() -> None:
    now = 0.0
    served = CountingRanker(15.0, lambda: now)
    for second in range(40):
        now = float(second)
        served._count("m", ListCounts(lists=1))

    assert served.tally("m").lists == 15
    assert served.tally("other") == ListCounts()
    assert rank_list is not served.rank
