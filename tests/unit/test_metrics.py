"""Ranking metrics: by hand, and against an independent implementation."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
import scipy.sparse as sp
from ir_measures import AP, RR, P, R, nDCG

from app.domain import list_metrics, metrics
from app.domain.exceptions import InputError

HITS = np.array([[True, False, True, False], [False, False, False, False], [False, True, False, False]])
RELEVANT = np.array([3, 2, 1])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("precision@4", [0.5, 0.0, 0.25]),
        ("recall@4", [2 / 3, 0.0, 1.0]),
        ("f1@4", [2 * 0.5 * (2 / 3) / (0.5 + 2 / 3), 0.0, 0.4]),
        ("hr@1", [1.0, 0.0, 0.0]),
        ("mrr@4", [1.0, 0.0, 0.5]),
        ("map@4", [(1 + 2 / 3) / 3, 0.0, 0.5]),
        ("ndcg@4", [1.5 / (1 + 1 / np.log2(3) + 0.5), 0.0, 1 / np.log2(3)]),
    ],
)
def test_by_hand(name: str, expected: list[float]) -> None:
    np.testing.assert_allclose(metrics.compute_metrics(HITS, RELEVANT, [name])[name], expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_random_lists_score_as_in_ir_measures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_users, n_items, depth = 30, 40, 20
    relevant = [set(rng.permutation(n_items)[: rng.integers(1, 15)].tolist()) for _ in range(n_users)]
    lists = np.array([rng.permutation(n_items)[:depth] for _ in range(n_users)])
    hits = np.array([[item in right for item in row] for row, right in zip(lists.tolist(), relevant, strict=True)])
    counts = np.array([len(right) for right in relevant])
    qrels = [ir_measures.Qrel(str(u), str(i), 1) for u, right in enumerate(relevant) for i in right]
    run = [ir_measures.ScoredDoc(str(u), str(i), float(-r)) for u, row in enumerate(lists) for r, i in enumerate(row)]
    theirs = {
        "ndcg@10": nDCG @ 10,
        "recall@10": R @ 10,
        "precision@10": P @ 10,
        "map@10": AP @ 10,
        "mrr@10": RR @ 10,
        "ndcg@20": nDCG @ 20,
        "recall@20": R @ 20,
    }
    ours = metrics.compute_metrics(hits, counts, list(theirs))
    for name, measure in theirs.items():
        expected = {row.query_id: row.value for row in ir_measures.iter_calc([measure], qrels, run)}
        np.testing.assert_allclose(ours[name], [expected[str(u)] for u in range(n_users)], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ["ndcg", "ndcg@", "ndcg@0", "ndcg@5000", "accuracy@10", "", "ndcg@ten"])
def test_names_that_are_no_metrics_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        metrics.parse_metric(name)


def test_lists_shorter_than_the_depth_count_as_filled_with_misses() -> None:
    short = np.array([[True]])
    assert metrics.compute_metrics(short, np.array([4]), ["precision@10"])["precision@10"].tolist() == pytest.approx(
        [0.1]
    )
    assert metrics.ndcg(short, np.array([1]), 10).tolist() == [1.0]


def test_gini_is_0_for_even_and_near_1_for_one_item() -> None:
    assert metrics.gini(np.array([5, 5, 5, 5])) == pytest.approx(0.0)
    assert metrics.gini(np.array([0, 0, 0, 20])) == pytest.approx(0.75)
    assert metrics.gini(np.array([0, 0])) == 0.0


def test_the_interval_holds_the_mean_and_narrows_with_users() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.random(50), rng.random(5_000)
    low, high = metrics.bootstrap_interval(few, seed=1)
    assert low < few.mean() < high
    narrow = metrics.bootstrap_interval(many, seed=1)
    assert narrow[1] - narrow[0] < (high - low) / 5
    # The normal approximation is good here: 1.96 standard errors each way.
    assert narrow[1] - narrow[0] == pytest.approx(2 * 1.96 * many.std() / np.sqrt(5_000), rel=0.1)
    assert metrics.bootstrap_interval(np.zeros(0), seed=1) == (0.0, 0.0)


def test_a_paired_comparison_sees_small_steady_gains_that_intervals_would_miss() -> None:
    champion = np.random.default_rng(2).random(300)
    candidate = champion + 0.01
    assert metrics.probability_better(candidate, champion, factor=1.0, seed=0) == 1.0
    assert metrics.probability_better(champion, candidate, factor=1.0, seed=0) == 0.0
    assert metrics.probability_better(np.zeros(0), np.zeros(0), factor=1.0, seed=0) == 0.0


def test_what_lists_are_like_by_hand() -> None:
    lists = np.array([[0, 1], [0, -1]], dtype=np.int32)
    counts = np.array([3, 1, 0, 0])
    features = sp.csr_matrix(np.array([[1, 0], [0, 1], [1, 1], [1, 0]], dtype=np.float32))
    told = list_metrics.list_figures(lists, counts, 4, features)
    assert told["coverage"] == 0.5
    assert told["attainable_coverage"] == 1.0
    assert told["diversity"] == pytest.approx(1.0)
    assert told["novelty"] == pytest.approx(-(2 * np.log2(4 / 5) + np.log2(2 / 5)) / 3)
    assert told["popularity_lift"] == pytest.approx((7 / 3) / (10 / 4) - 1)
