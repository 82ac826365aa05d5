"""Judging a recommender on held-out events: full ranking, training items excluded, no sampled negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from app.application.evaluation.held_out import HoldOut, hold_out, take_rows
from app.domain import list_metrics, metrics
from app.domain.dataset import Dataset, Histories
from app.domain.recommender import Progress, Scorer
from app.domain.threads import allowed as allowed_threads

__all__ = ["DEFAULT_METRICS", "Evaluation", "HoldOut", "evaluate", "hold_out", "take_rows", "top_lists"]

DEFAULT_METRICS = (
    *("ndcg@10", "recall@10", "precision@10", "f1@10", "map@10", "mrr@10", "hr@10"),
    *("ndcg@20", "recall@20"),
)
_BATCH_CELLS = 8_000_000
"""Scores held at once by a thread: 32 MB of float32."""

_LIGHT, _HEAVY = 10, 100
_SHOWN = 10
"""Lists are described as people see them: ten items."""

_HEAD_SHARE = 0.8
_ENOUGH_LISTS, _SAME_FIRST, _EMPTY = 20, 0.8, 0.1


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one recommender scored on one hold-out. `per_user` arrays are float32, row i belongs to users[i]."""

    name: str
    users: tuple[str, ...]
    per_user: Mapping[str, NDArray[np.float32]]
    intervals: Mapping[str, tuple[float, float]]
    slices: Mapping[str, NDArray[np.bool_]]
    slice_means: Mapping[str, Mapping[str, float]]
    coverage: float
    lists: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def attainable_coverage(self) -> float:
        """The share of the catalogue that so many lists could show at most."""
        return self.lists.get(f"attainable_coverage@{_SHOWN}", 1.0)

    def mean(self, metric: str) -> float:
        """The mean over users; 0 without users."""
        values = self.per_user[metric]
        return float(values.mean(dtype=np.float64)) if len(values) else 0.0

    def summary(self) -> dict[str, object]:
        """Everything but the per-user values, JSON-serialisable."""
        return {
            "recommender": self.name,
            "users": len(self.users),
            "metrics": {
                name: {"mean": self.mean(name), "low": self.intervals[name][0], "high": self.intervals[name][1]}
                for name in self.per_user
            },
            "coverage": self.coverage,
            "lists": dict(self.lists),
            "slices": {
                name: {**({"users": int(self.slices[name].sum())} if name in self.slices else {}), **means}
                for name, means in self.slice_means.items()
            },
            "problems": list(self.problems),
        }


def top_lists(
    recommender: Scorer,
    histories: Histories,
    depth: int,
    *,
    hidden: sp.csr_matrix | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int32], bool]:
    """((n, depth) int32 best unseen items, best first, -1 where there are no more; were all scores finite?).

    Ties go to the lower position. `hidden`: (n, n_items) pairs that are not listed either. `allowed`: (n_items,)
    restricts the catalogue.
    """
    n_items = recommender.n_items
    depth = min(depth, n_items)
    lists = np.empty((len(histories), depth), dtype=np.int32)

    def rank(start: int, batch: Histories) -> bool:
        scores = recommender.score(batch)
        is_finite = bool(np.isfinite(scores).all())
        rows = np.repeat(np.arange(len(batch)), batch.lengths)
        scores[rows, batch.items] = -np.inf
        if hidden is not None:
            scores[hidden[start : start + len(batch)].nonzero()] = -np.inf
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        lists[start : start + len(batch)] = _best(scores, depth)
        return is_finite

    # A thread per batch and one BLAS thread each: small solves under a threaded BLAS take ten times as long.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(allowed_threads()) as pool:
        batches = histories.batches(max(1, _BATCH_CELLS // max(n_items, 1)))
        finite = all(list(pool.map(lambda one: rank(*one), batches)))
    return lists, finite


def _best(scores: NDArray[np.float32], depth: int) -> NDArray[np.int32]:
    """Column positions of the `depth` highest scores per row, best first, ties by position; -1 for -inf."""
    n_items = scores.shape[1]
    top = np.argpartition(-scores, depth - 1, axis=1)[:, :depth] if depth < n_items else None
    if top is None:
        top = np.tile(np.arange(n_items), (len(scores), 1))
    top.sort(axis=1)
    values = np.take_along_axis(scores, top, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.take_along_axis(top, order, axis=1).astype(np.int32)
    best[~np.isfinite(np.take_along_axis(values, order, axis=1))] = -1
    return best


def hits_of(lists: NDArray[np.int32], relevant: sp.csr_matrix) -> NDArray[np.bool_]:
    """(n_users, depth) bool: is the item at this rank relevant?"""
    n_items = relevant.shape[1]
    rows = np.arange(len(lists), dtype=np.int64)[:, None]
    right = np.repeat(rows[:, 0], np.diff(relevant.indptr)) * n_items + relevant.indices
    asked = rows * n_items + lists
    return np.isin(asked, right) & (lists >= 0)


def evaluate(
    recommender: Scorer,
    train: Dataset,
    hold_out: HoldOut,
    *,
    seed: int,
    progress: Progress,
    names: Sequence[str] = DEFAULT_METRICS,
) -> Evaluation:
    """Rank the whole catalogue for every user of the hold-out and measure. Deterministic for a seed."""
    depth = max(_SHOWN, *(metrics.parse(name)[1] for name in names))
    lists, finite = top_lists(recommender, hold_out.histories, depth)
    progress("ranking", 0.8)
    hits = hits_of(lists, hold_out.relevant)
    per_user = metrics.compute(hits, hold_out.n_relevant, names)
    slices = user_slices(hold_out)
    counts = np.bincount(train.histories.items, minlength=recommender.n_items).astype(np.int64)
    features = None if train.item_features is None else train.item_features.matrix
    figures = list_metrics.describe(lists[:, :_SHOWN], counts, train.n_users, features)
    means = {name: {m: float(v[members].mean()) for m, v in per_user.items()} for name, members in slices.items()}
    evaluation = Evaluation(
        recommender.name,
        hold_out.users,
        per_user,
        {name: metrics.bootstrap_interval(values, seed=seed) for name, values in per_user.items()},
        slices,
        means | _item_slices(lists, hold_out, counts, names),
        figures["coverage"],
        {f"{name}@{_SHOWN}": value for name, value in figures.items()},
        tuple(_problems(lists, hold_out, finite)),
    )
    progress("ranking", 1.0)
    return evaluation


def _item_slices(
    lists: NDArray[np.int32], hold_out: HoldOut, counts: NDArray[np.int64], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Means over the users who have such an item to find, counting only these as right.

    tail: items outside the most popular that together have 80 % of the interactions; new: without any.
    """
    order = np.argsort(-counts, kind="stable")
    reached = np.cumsum(counts[order]) - counts[order]
    head = np.zeros(len(counts), dtype=bool)
    head[order[reached < _HEAD_SHARE * counts.sum()]] = True
    found = {}
    for name, members in {"tail items": ~head & (counts > 0), "new items": counts == 0}.items():
        kept = sp.csr_matrix(hold_out.relevant.multiply(members[None, :]), dtype=bool)
        kept.eliminate_zeros()
        asked = np.diff(kept.indptr) > 0
        if asked.any():
            hits = hits_of(lists[asked], kept[asked])
            values = metrics.compute(hits, np.diff(kept.indptr)[asked].astype(np.int64), names)
            found[name] = {"users": float(asked.sum()), **{m: float(v.mean()) for m, v in values.items()}}
    return found


def _problems(lists: NDArray[np.int32], hold_out: HoldOut, finite: bool) -> list[str]:
    """What no model worth serving shows."""
    problems = [] if finite else ["its scores are not all finite numbers"]
    personal = lists[hold_out.histories.lengths > 0, :1]
    if len(personal) >= _ENOUGH_LISTS:
        _, times = np.unique(personal, return_counts=True)
        if times.max() > _SAME_FIRST * len(personal):
            problems.append(f"the same item comes first for {times.max() / len(personal):.0%} of the users")
    if len(lists) and (lists[:, 0] < 0).mean() > _EMPTY:
        problems.append("it has nothing to list for many users")
    return problems


def user_slices(hold_out: HoldOut) -> dict[str, NDArray[np.bool_]]:
    """Slices of users that have members: new (no history), light (1–10 entries), medium, heavy (100 and more)."""
    lengths = hold_out.histories.lengths
    slices = {
        "new users": lengths == 0,
        "light users": (lengths > 0) & (lengths <= _LIGHT),
        "medium users": (lengths > _LIGHT) & (lengths < _HEAVY),
        "heavy users": lengths >= _HEAVY,
    }
    return {name: members for name, members in slices.items() if members.any()}
