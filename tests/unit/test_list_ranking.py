"""Making a list where a catalog is too large to score: candidates first, and still full."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from app.application.ranking.candidate_generation import PER_SOURCE, index_towers
from app.application.ranking.list_ranking import RankingTask, rank_list, ranking_time
from app.application.ranking.serving_state import ServingState
from app.domain.catalog_view import CatalogView
from app.domain.dataset import Dataset, Histories, IdMap
from app.domain.entities import Item
from app.domain.list_query import Filters, ModelRef
from app.domain.reranking import ResolvedRules, apply_boosts
from app.domain.rules import Boost, ItemSelector
from app.infrastructure.vector_store import open_vector_index
from app.models import RECOMMENDERS

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
N_ITEMS, N_USERS = 4_000, 400
RARE = tuple(f"i{number:04}" for number in range(0, N_ITEMS, 100))


@pytest.fixture(scope="module")
def servings() -> tuple[ServingState, ServingState]:
    """The same blend scoring everything, and scoring candidates; one item in a hundred is of the rare genre."""
    random = np.random.default_rng(3)
    rows: list[NDArray[np.int64]] = [
        np.unique((N_ITEMS * random.random(30) ** 2).astype(int)) for _user in range(N_USERS)
    ]
    flat = np.concatenate(rows).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    times = np.full(len(flat), NOW.timestamp() - 86_400)
    histories = Histories(indptr, flat, np.ones(len(flat), np.float32), times, NOW.timestamp())
    ids = IdMap(f"i{number:04}" for number in range(N_ITEMS))
    blend = {
        "members": {"ials": {"factors": 8, "epochs": 2}, "rp3": {}, "popularity": {}},
        "weights": {"ials": [1.0], "rp3": [0.5], "popularity": [0.1]},
    }
    recommender = RECOMMENDERS.build("hybrid", blend)
    recommender.fit(Dataset(IdMap(map(str, range(N_USERS))), ids, histories), seed=0, progress=lambda *_: None)
    view = CatalogView.of_model(ids).updated([Item(item_id, NOW, genres=("Rare",)) for item_id in RARE], (), 1)
    candidates = index_towers(recommender, partial(open_vector_index, "flat"), direct_below=100)
    model = ModelRef("m", "hybrid", 1)
    return ServingState(view, model, recommender), ServingState(view, model, recommender, candidates=candidates)


def listed(serving: ServingState, size: int = 100, filters: Filters = Filters(), **fields: str) -> list[str]:  # noqa: B008 - frozen
    history = tuple((f"i{number:04}", 1.0, NOW.timestamp() - number) for number in range(5, 300, 10))
    made = rank_list(serving, RankingTask(fields.get("type", "hybrid"), filters, history, size), NOW)
    return [serving.view.ids.ids[position] for position in made.positions]


def test_candidates_hold_nearly_all_of_the_best_hundred(servings: tuple[ServingState, ServingState]) -> None:
    everything, indexed = servings

    assert len(set(listed(indexed)) & set(listed(everything))) >= 98


def test_a_filter_that_leaves_no_candidates_still_fills_the_list(servings: tuple[ServingState, ServingState]) -> None:
    everything, indexed = servings
    rare = Filters(genres=frozenset({"rare"}))

    assert listed(indexed, 40, rare) == listed(everything, 40, rare)
    assert sorted(listed(indexed, 100, rare)) == list(RARE)


@pytest.mark.parametrize("n_excluded", [2 * PER_SOURCE, 5 * PER_SOURCE])
@pytest.mark.parametrize("wanted", ["hybrid", "collaborative"])
def test_however_many_candidates_are_hidden_the_list_is_full(
    servings: tuple[ServingState, ServingState], n_excluded: int, wanted: str
) -> None:
    everything, indexed = servings
    excluded = Filters(exclude=frozenset(listed(everything, n_excluded, type=wanted)))

    made = listed(indexed, 100, excluded, type=wanted)

    assert len(made) == 100
    assert not excluded.exclude & set(made)


def test_one_member_alone_searches_its_own_index(servings: tuple[ServingState, ServingState]) -> None:
    everything, indexed = servings

    assert listed(indexed, 50, type="collaborative") == listed(everything, 50, type="collaborative")


def test_a_list_does_not_change_within_a_day() -> None:
    morning, evening = NOW.replace(hour=0), NOW.replace(hour=23, minute=59)

    assert ranking_time(morning) == ranking_time(evening) == NOW.replace(day=22, hour=0)


def test_a_boost_is_in_standard_deviations_of_the_scores() -> None:
    """Scores 0, 2, 4, 6 deviate by the root of 5 from their mean."""
    scores, at = np.array([0.0, 2.0, 4.0, 6.0], dtype=np.float32), np.arange(4, dtype=np.int32)
    rules = ResolvedRules(
        boosts=[(Boost(name="b", select=ItemSelector(items=frozenset({"x"})), by=2.0), np.array([1], dtype=np.int32))]
    )
    lifted = apply_boosts(scores, at, rules, 4, 0.0)
    np.testing.assert_allclose(lifted, [0.0, 2.0 + 2.0 * 5**0.5, 4.0, 6.0], rtol=1e-6)
