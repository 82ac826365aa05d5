"""Ranking metrics, vectorised over users. Binary relevance; definitions follow trec_eval where it has them.

`hits` is (n_users, depth) bool: is the item at this rank relevant? Rank 0 is the best; where a list is shorter than
`depth` its tail is False. `relevant` is (n_users,) int: how many relevant items the user has, found or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain.exceptions import InputError

Hits = NDArray[np.bool_]
Values = NDArray[np.float64]


def precision(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """Share of the first k that is relevant; a shorter list counts as if filled with misses."""
    return np.asarray(hits[:, :k].sum(axis=1) / k, dtype=np.float64)


def recall(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """Share of the relevant items that is among the first k."""
    return np.asarray(hits[:, :k].sum(axis=1) / np.maximum(relevant, 1), dtype=np.float64)


def f1(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """Harmonic mean of precision@k and recall@k; 0 where both are."""
    p, r = precision(hits, relevant, k), recall(hits, relevant, k)
    return np.asarray(np.divide(2 * p * r, p + r, out=np.zeros_like(p), where=(p + r) > 0), dtype=np.float64)


def hit_rate(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """1 if any of the first k is relevant."""
    return np.asarray(hits[:, :k].any(axis=1), dtype=np.float64)


def reciprocal_rank(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """1 / rank of the first relevant item among the first k, 0 without one."""
    first = hits[:, :k].argmax(axis=1) if hits.shape[1] else np.zeros(len(hits), dtype=np.int64)
    return np.asarray(np.where(hits[:, :k].any(axis=1), 1.0 / (first + 1.0), 0.0), dtype=np.float64)


def average_precision(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """Mean over *all* relevant items of the precision at their rank, 0 for those after k (trec_eval's map_cut)."""
    top = hits[:, :k]
    at_rank = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    return np.asarray((at_rank * top).sum(axis=1) / np.maximum(relevant, 1), dtype=np.float64)


def ndcg(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """DCG with gain 1 and discount log2(rank + 1), over that of min(k, relevant) hits in front (Järvelin 2002)."""
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    gain = hits[:, :k] @ discount[: hits[:, :k].shape[1]]
    ideal = np.concatenate([[1.0], np.cumsum(discount)])[np.minimum(relevant, k)]
    return np.where(relevant > 0, gain / ideal, 0.0)


METRICS: Mapping[str, Callable[[Hits, NDArray[np.int64], int], Values]] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hr": hit_rate,
}


def parse_metric(name: str) -> tuple[str, int]:
    """`ndcg@10` → (ndcg, 10). Raises InputError for anything else."""
    metric, _, depth = name.partition("@")
    if metric not in METRICS or not depth.isdigit() or not 1 <= int(depth) <= 1_000:
        raise InputError(f"a metric is one of {', '.join(METRICS)}, @, and a depth from 1 to 1000", "metrics")
    return metric, int(depth)


def compute_metrics(hits: Hits, relevant: NDArray[np.int64], names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Per-user values of each metric, by its name."""
    parsed = {name: parse_metric(name) for name in names}
    return {name: METRICS[metric](hits, relevant, k).astype(np.float32) for name, (metric, k) in parsed.items()}


def gini(counts: NDArray[np.integer]) -> float:
    """0 = every item recommended equally often, towards 1 = one item gets everything."""
    total = float(counts.sum())
    if total == 0:
        return 0.0
    n = len(counts)
    ordered = np.sort(counts).astype(np.float64)
    return float((2.0 * np.arange(1, n + 1) - n - 1.0) @ ordered / (n * total))


def bootstrap_interval(
    values: NDArray[np.floating], *, seed: int, resamples: int = 1_000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979), users drawn with replacement; (0, 0) without users.

    Resampling n values with replacement is drawing multinomial counts. Many equal values are grouped first, which
    makes the cost depend on the number of different values.
    """
    if not len(values):
        return 0.0, 0.0
    means = _resampled_means(values, seed, resamples)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def probability_better(
    candidate: NDArray[np.floating],
    champion: NDArray[np.floating],
    *,
    factor: float,
    seed: int,
    resamples: int = 1_000,
) -> float:
    """Share of paired bootstrap resamples in which mean(candidate) ≥ factor · mean(champion), on the same users."""
    if not len(candidate):
        return 0.0
    difference = candidate.astype(np.float64) - factor * champion.astype(np.float64)
    return float(np.mean(_resampled_means(difference, seed, resamples) >= 0.0))


def _resampled_means(values: NDArray[np.floating], seed: int, resamples: int) -> Values:
    rng = np.random.default_rng(seed)
    distinct, counts = np.unique(values.astype(np.float64), return_counts=True)
    means = np.empty(resamples)
    for index in range(resamples):
        means[index] = rng.multinomial(len(values), counts / len(values)) @ distinct
    return means / len(values)
