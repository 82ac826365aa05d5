"""Dislikes by hand: never a like, in learning and in ranking (docs/signals.md)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.models.folding import Evidence, Ridge, fold
from app.models.hybrid import effective_lengths
from app.models.linear import inputs
from app.models.popularity import TrendingParameters, popularity_scores
from tests.unit.models.data import dataset, history


def test_a_dislike_is_evidence_of_no_interest_with_its_own_confidence() -> None:
    evidence = Evidence.of(history([0, 1, 2], [2.0, -1.0, 0.0]), 3, 1.0, flat=False)
    assert evidence.items.tolist() == [0, 1]
    assert evidence.target.tolist() == [1.0, 0.0]
    assert evidence.confidence.tolist() == [2.0, 1.0]


def test_folded_in_by_hand_a_dislike_pulls_the_vector_down_and_alone_gives_none() -> None:
    """One factor, both items at 1, ridge 1: u = Σ confidence·target / (Σ confidence + 1)."""
    vectors = np.ones((2, 1), dtype=np.float32)
    ridge = Ridge(np.zeros(1), alpha=0.0, regularization=1.0, nu=0.0, n_trained=2)

    def vector(weights: list[float]) -> float:
        evidence = Evidence.of(history(list(range(len(weights))), weights), 2, 1.0, flat=False)
        return float(fold(evidence, vectors, ridge)[0, 0])

    assert vector([1.0]) == pytest.approx(1 / 2)
    assert vector([1.0, -1.0]) == pytest.approx(1 / 3)
    assert vector([1.0, 1.0]) == pytest.approx(2 / 3)
    assert vector([-1.0]) == 0.0


def test_a_dislike_enters_linear_recommenders_with_its_strength_against() -> None:
    matrix = inputs(history([0, 1, 2, 3], [2.0, -0.5, 0.0, -9.0]), 4, 1.0)
    assert matrix.toarray()[0].tolist() == [1.0, -0.5, 0.0, -3.0]


def test_popularity_counts_likes_alone() -> None:
    """Item 0: two of four people like it. Item 1: one likes it, two dislike it. Item 2: nobody does, one two-star."""
    told = dataset([[(0, 1.0), (1, 1.0)], [(0, 0.5), (1, -1.0)], [(1, -2.0)], [(2, 0.0)]], 3)
    assert popularity_scores(told, 0.0).tolist() == [0.5, 0.25, 0.0]


def test_without_a_like_what_is_popular_weighs_as_for_a_newcomer() -> None:
    lengths, likes, signals = np.array([0, 5, 5, 5]), np.array([0, 0, 0, 1]), np.array([0, 0, 5, 5])
    assert effective_lengths("popularity", lengths, likes, signals).tolist() == [0, 0, 0, 5]
    assert effective_lengths("ials", lengths, likes, signals).tolist() == [0, 0, 1, 5]


def test_a_like_counts_half_after_a_half_life_for_what_is_trending() -> None:
    """Two people; item 0 liked now by one, item 1 thirty days ago by one, item 2 sixty days ago by one."""
    told = dataset([[(0, 1.0), (1, 1.0), (2, 1.0)], []], 3)
    now, day = told.histories.now, 86_400.0
    times = np.array([now, now - 30 * day, now - 60 * day])
    scores = popularity_scores(replace(told, histories=replace(told.histories, times=times)), 30.0)
    np.testing.assert_allclose(scores, [0.5, 0.25, 0.125], rtol=1e-6)
    assert TrendingParameters().half_life_days == 30.0
