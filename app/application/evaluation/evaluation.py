"""Judging a recommender on held-out events: full ranking, training items excluded, no sampled negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.application.evaluation.hold_out import HoldOut
from app.application.evaluation.slices import Slice, item_slices, user_slices
from app.application.evaluation.top_lists import hits_of, top_lists
from app.domain import list_metrics, metrics
from app.domain.dataset import Dataset
from app.domain.recommender import ProgressCallback, Scorer

DEFAULT_METRICS = (
    *("ndcg@10", "recall@10", "precision@10", "f1@10", "map@10", "mrr@10", "hr@10"),
    *("ndcg@20", "recall@20"),
)
_SHOWN = 10
"""Lists are described as people see them: ten items."""

_ENOUGH_LISTS, _SAME_FIRST, _EMPTY = 20, 0.8, 0.1


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one recommender scored on one hold-out. `per_user` arrays are float32, row i belongs to users[i]."""

    name: str
    users: tuple[str, ...]
    per_user: Mapping[str, NDArray[np.float32]]
    intervals: Mapping[str, tuple[float, float]]
    slices: Mapping[str, NDArray[np.bool_]]
    by_slice: Mapping[str, Slice]
    coverage: float
    lists: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def attainable_coverage(self) -> float:
        """The share of the catalog that so many lists could show at most."""
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
            "slices": {name: one.summary() for name, one in self.by_slice.items()},
            "problems": list(self.problems),
        }


def evaluate(
    recommender: Scorer,
    train: Dataset,
    hold_out: HoldOut,
    *,
    seed: int,
    progress: ProgressCallback,
    names: Sequence[str] = DEFAULT_METRICS,
) -> Evaluation:
    """Rank the whole catalog for every user of the hold-out and measure. Deterministic for a seed."""
    depth = max(_SHOWN, *(metrics.parse_metric(name)[1] for name in names))
    lists, finite = top_lists(recommender, hold_out.histories, depth, exclude_seen=not hold_out.may_return)
    progress("ranking", 0.8)
    hits = hits_of(lists, hold_out.relevant)
    per_user = metrics.compute_metrics(hits, hold_out.n_relevant, names)
    slices = user_slices(hold_out)
    counts = np.bincount(train.histories.items, minlength=recommender.n_items).astype(np.int64)
    features = None if train.item_features is None else train.item_features.matrix
    figures = list_metrics.list_figures(lists[:, :_SHOWN], counts, train.n_users, features)
    of_users = {
        name: Slice.of({metric: values[members] for metric, values in per_user.items()}, seed)
        for name, members in slices.items()
    }
    evaluation = Evaluation(
        recommender.name,
        hold_out.users,
        per_user,
        {name: metrics.bootstrap_interval(values, seed=seed) for name, values in per_user.items()},
        slices,
        of_users | item_slices(lists, hold_out, counts, names, seed),
        figures["coverage"],
        {f"{name}@{_SHOWN}": value for name, value in figures.items()},
        tuple(_problems(lists, hold_out, finite)),
    )
    progress("ranking", 1.0)
    return evaluation


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
