"""Directed transitions and fading histories, worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from app.domain.dataset import Dataset
from app.domain.recommender import Recommender
from app.models import RECOMMENDERS
from tests.unit.models.data import dataset, history, silent, without


def walks(*oldest_first: Sequence[int], n_items: int = 5) -> Dataset:
    return dataset([[(item, 1.0) for item in reversed(walk)] for walk in oldest_first], n_items, features=False)


def fitted(data: Dataset, name: str = "transitions", **parameters: float) -> Recommender:
    recommender = RECOMMENDERS.build(name, parameters)
    recommender.fit(data, seed=0, progress=silent)
    return recommender


def test_what_comes_after_is_recommended_and_what_came_before_is_not() -> None:
    scores = fitted(walks([0, 1, 2], [0, 1, 3])).score(history([1]))[0]
    assert scores[2] == scores[3] > 0
    assert scores[0] == 0.0


def test_a_weight_is_the_faded_count_of_steps_over_the_powers_of_both_counts() -> None:
    trained = fitted(walks([0, 1, 2], [0, 2]), step=0.5, alpha=1.0, beta=0.0)
    # 0 → 2 once two steps on (0.5) and once directly (1), of two visits of 0; 1 / √2 is the scale of one entry.
    np.testing.assert_allclose(trained.score(history([0]))[0], np.array([0, 0.5, 0.75, 0, 0]) / np.sqrt(2), rtol=1e-5)


def test_the_older_entry_speaks_less() -> None:
    trained = fitted(walks([0, 2], [1, 3]), decay=0.5)
    scores = trained.score(history([0, 1]))[0]
    assert scores[2] == pytest.approx(2 * scores[3])


def test_steps_beyond_the_window_do_not_count() -> None:
    data = walks([0, 1, 2, 3])
    assert fitted(data, window=2).score(history([0]))[0, 3] == 0.0
    assert fitted(data, window=3).score(history([0]))[0, 3] > 0.0


def test_steps_of_one_moment_count_half_in_either_direction() -> None:
    data = walks([0, 1])
    ordered = fitted(data, alpha=0.0, beta=0.0).score(history([0]))[0, 1]
    data.histories.times[:] = 5.0
    tied = fitted(data, alpha=0.0, beta=0.0)
    assert tied.score(history([0]))[0, 1] == pytest.approx(0.5 * ordered)
    assert tied.score(history([1]))[0, 0] == pytest.approx(0.5 * ordered)


@pytest.mark.parametrize("name", ["rp3", "item-item", "transitions"])
@pytest.mark.parametrize("decay", [0.3, 0.8, 1.0])
def test_contributions_are_what_is_lost_where_older_entries_move_up(name: str, decay: float) -> None:
    trained = fitted(walks([0, 1, 2, 3], [0, 2, 4], [1, 3, 4], [2, 0, 1]), name, decay=decay)
    one, items = history([2, 0, 3], [1.0, -1.0, 1.0]), np.array([1, 4], dtype=np.int32)
    parts, whole = trained.contributions(one, items), trained.score(one, items)[0]
    np.testing.assert_allclose(parts.sum(axis=0), whole, atol=1e-6)
    for position in range(3):
        np.testing.assert_allclose(whole - trained.score(without(one, position), items)[0], parts[position], atol=1e-6)


def test_a_recipe_without_a_decay_scores_as_it_always_did() -> None:
    data = walks([0, 1, 2], [1, 2, 3], [2, 3, 4])
    old, new = fitted(data, "rp3"), fitted(data, "rp3", decay=1.0)
    np.testing.assert_array_equal(old.score(data.histories), new.score(data.histories))
    restored = RECOMMENDERS.restore("rp3", {"neighbours": 200, "alpha": 0.8, "beta": 0.3}, old.arrays())
    np.testing.assert_array_equal(restored.score(data.histories), old.score(data.histories))
