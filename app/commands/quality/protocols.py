"""Q1–Q4: one function per row of the quality table. Every number comes through the default pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from app.application.evaluation.hold_out import hold_out, take_rows
from app.application.evaluation.pipeline import Trained, ranks_among, train
from app.application.evaluation.top_lists import hits_of, top_lists
from app.commands.quality import data
from app.domain import metrics
from app.domain.dataset import Dataset
from app.domain.entities import EventColumns, Item, User
from app.domain.recommender import ProgressCallback, Recommender, Scorer
from app.domain.signals import SignalPolicy, dataset_from
from app.models import RECOMMENDERS

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class ProtocolResult:
    """What one seed gave: the pipeline's figures, popularity's (and others') beside them, what it took."""

    figures: Figures
    beside: Mapping[str, Figures] = field(default_factory=dict)
    recipe: Mapping[str, object] = field(default_factory=dict)
    select_seconds: float = 0.0
    fit_seconds: float = 0.0
    rank_seconds: float = 0.0


Protocol = Callable[[int, float, ProgressCallback], ProtocolResult]
"""(seed, selection budget in seconds, progress) → what came out."""


def dataset_of(events: EventColumns, items: Sequence[Item] = (), users: Sequence[User] = ()) -> Dataset:
    now = datetime.fromtimestamp(float(events.occurred_at.max()) + 1.0, UTC)
    return dataset_from(events, SignalPolicy(), now, items, users)


def columns_of(dataset: Dataset, n_items: int) -> NDArray[np.int64]:
    """(n_items,) the training set's position of item `0`, `1`, …; -1 for items it does not have."""
    column = np.full(n_items, -1, dtype=np.int64)
    column[[int(item) for item in dataset.items.ids]] = np.arange(dataset.n_items)
    return column


def popularity_of(dataset: Dataset, progress: ProgressCallback) -> Recommender:
    popularity = RECOMMENDERS.build("popularity", {})
    popularity.fit(dataset, seed=0, progress=progress)
    return popularity


def outcome_of(trained: Trained, figures: Figures, beside: Mapping[str, Figures], began: float) -> ProtocolResult:
    recipe = {"name": trained.recipe.name, **trained.recipe.parameters}
    return ProtocolResult(figures, beside, recipe, trained.select_seconds, trained.fit_seconds, monotonic() - began)


def negatives(seed: int, budget: float, progress: ProgressCallback) -> ProtocolResult:
    """Q1, ml-1m-ncf: rank the test item among its 99 given negatives."""
    pairs, users, candidates = data.movielens_negatives()
    dataset = dataset_of(pairs.events())
    rows = dataset.users.positions(str(user) for user in users)
    column = columns_of(dataset, pairs.n_items)
    histories = take_rows(dataset.histories, rows)

    def judged(scorer: Scorer) -> Figures:
        ranks = ranks_among(scorer, histories, column[candidates])
        found = ranks < 10
        return {"hr@10": float(found.mean()), "ndcg@10": float(np.where(found, 1 / np.log2(ranks + 2), 0.0).mean())}

    trained = train(dataset, RECOMMENDERS, seed=seed, budget_seconds=budget, progress=progress)
    began = monotonic()
    return outcome_of(
        trained, judged(trained.recommender), {"popularity": judged(popularity_of(dataset, progress))}, began
    )


def _full(scorer: Scorer, dataset: Dataset, test: EventColumns, names: tuple[str, ...]) -> Figures:
    asked = hold_out(dataset, test)
    depth = max(metrics.parse_metric(name)[1] for name in names)
    lists, _ = top_lists(scorer, asked.histories, depth)
    values = metrics.compute_metrics(hits_of(lists, asked.relevant), asked.n_relevant, names)
    return {name: float(value.mean(dtype=np.float64)) for name, value in values.items()}


def gowalla(seed: int, budget: float, progress: ProgressCallback) -> ProtocolResult:
    """Q2: full ranking for all users, training items excluded."""
    train_pairs, test_pairs = data.gowalla()
    dataset, test, names = dataset_of(train_pairs.events()), test_pairs.events(), ("recall@20", "ndcg@20")
    trained = train(dataset, RECOMMENDERS, seed=seed, budget_seconds=budget, progress=progress)
    began = monotonic()
    figures = _full(trained.recommender, dataset, test, names)
    return outcome_of(
        trained, figures, {"popularity": _full(popularity_of(dataset, progress), dataset, test, names)}, began
    )


def next_item(seed: int, budget: float, progress: ProgressCallback) -> ProtocolResult:
    """Q3, ml-1m-seq: the last item of everyone, full ranking, seen items excluded."""
    pairs = data.movielens_sequences()
    assert pairs.position is not None, "the data are sequences"
    is_last = np.append(pairs.user[1:] != pairs.user[:-1], True)
    dataset, names = dataset_of(pairs.events(~is_last)), ("hr@10", "ndcg@10")
    test = pairs.events(is_last)
    trained = train(dataset, RECOMMENDERS, seed=seed, budget_seconds=budget, progress=progress)
    began = monotonic()
    figures = _full(trained.recommender, dataset, test, names)
    return outcome_of(
        trained, figures, {"popularity": _full(popularity_of(dataset, progress), dataset, test, names)}, began
    )


def cold_items(seed: int, budget: float, progress: ProgressCallback) -> ProtocolResult:
    """Q4: 20 % of the items lose all interactions; only they are ranked, for everyone who has some of them."""
    movies = data.movielens()
    cold = np.zeros(movies.pairs.n_items, dtype=bool)
    cold[np.random.default_rng(0).permutation(movies.pairs.n_items)[: movies.pairs.n_items // 5]] = True
    lost = cold[movies.pairs.item]
    dataset = dataset_of(movies.pairs.events(~lost), movies.items, movies.users)
    test = movies.pairs.events(lost)
    trained = train(dataset, RECOMMENDERS, seed=seed, budget_seconds=budget, progress=progress)
    began = monotonic()
    asked = hold_out(dataset, test)
    allowed = np.array([cold[int(item)] for item in dataset.items.ids])

    def judged(scorer: Scorer) -> Figures:
        lists, _ = top_lists(scorer, asked.histories, 20, allowed=allowed)
        values = metrics.compute_metrics(hits_of(lists, asked.relevant), asked.n_relevant, ("recall@20", "ndcg@20"))
        return {name: float(value.mean(dtype=np.float64)) for name, value in values.items()}

    beside = {"popularity": judged(popularity_of(dataset, progress))}
    return outcome_of(trained, judged(trained.recommender), beside, began)
