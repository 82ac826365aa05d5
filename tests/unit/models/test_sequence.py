"""The linear sequence against its definition: every state and every target written out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.models import RECOMMENDERS
from tests.unit.models.data import dataset, silent

N_ITEMS = 6
WALKS = ([0, 1, 2, 3, 4], [1, 2, 5], [3, 0, 4, 2], [5], [2, 4])
"""Oldest first; short enough that no decay is cut off."""


def walks() -> Dataset:
    return dataset([[(item, 1.0) for item in reversed(walk)] for walk in WALKS], N_ITEMS, features=False)


def states(walk: list[int], gamma: float) -> NDArray[np.float64]:
    """(len(walk), n_items) the decayed history after each step."""
    rows = np.zeros((len(walk), N_ITEMS))
    for step, item in enumerate(walk):
        rows[step] = (gamma * rows[step - 1] if step else 0.0) + np.eye(N_ITEMS)[item]
    return rows


def ridge(fast: float, slow: float, ahead: float, regularization: float) -> NDArray[np.float64]:
    """(2 · n_items, n_items): states before, stacked, to what comes from then on."""
    left, right = [], []
    for walk in WALKS:
        before = np.concatenate([states(walk, fast), states(walk, slow)], axis=1)[:-1]
        future = states(walk[::-1], ahead)[::-1][1:]
        left.append(before)
        right.append(future)
    x, y = np.concatenate(left), np.concatenate(right)
    return np.linalg.solve(x.T @ x + regularization * np.eye(2 * N_ITEMS), x.T @ y)


@pytest.mark.parametrize(("fast", "slow", "ahead"), [(0.0, 0.9, 0.0), (0.0, 0.9, 0.6), (0.5, 0.95, 0.5)])
def test_scores_are_those_of_the_ridge_from_states_to_what_follows(fast: float, slow: float, ahead: float) -> None:
    trained = RECOMMENDERS.build("sequence", {"fast": fast, "slow": slow, "ahead": ahead, "regularization": 0.7})
    trained.fit(walks(), seed=0, progress=silent)

    shown = Histories.single([4, 0, 3], [1.0, 1.0, 1.0], [3.0, 2.0, 1.0], 4.0)
    now = np.concatenate([states([3, 0, 4], fast)[-1], states([3, 0, 4], slow)[-1]])

    np.testing.assert_allclose(trained.score(shown)[0], now @ ridge(fast, slow, ahead, 0.7), rtol=1e-3, atol=1e-4)


def test_looking_further_ahead_counts_what_comes_second_too() -> None:
    def second(ahead: float) -> float:
        tower = RECOMMENDERS.build("sequence", {"factors": 6, "ahead": ahead, "regularization": 1.0})
        tower.fit(walks(), seed=0, progress=silent)
        return float(tower.score(Histories.single([0], [1.0], [1.0], 2.0))[0, 2])

    assert second(0.8) > second(0.0) + 0.05
