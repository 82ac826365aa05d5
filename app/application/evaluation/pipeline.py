"""The default pipeline on a training set: choose, fit, judge. What `encore train` does, without a database."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from app.application.evaluation.evaluation import Evaluation, evaluate
from app.application.evaluation.hold_out import SEEN, HoldOut, hold_out
from app.application.evaluation.selection import Recipe, select
from app.domain.dataset import Dataset, Histories
from app.domain.entities import EventColumns, Item, User
from app.domain.exceptions import NotEnoughDataError
from app.domain.recommender import ProgressCallback, Recommender, Recommenders, Scorer
from app.domain.signals import SignalPolicy, dataset_from
from app.domain.threads import thread_limit

BUDGET_SECONDS = 120.0
"""Of processor time, for selection; fitting the chosen recipe comes on top. Data that need less take less."""

_SCORE_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted recommender, the recipe it was made by, and what it took."""

    recommender: Recommender
    recipe: Recipe
    select_seconds: float
    fit_seconds: float


def train(
    dataset: Dataset,
    recommenders: Recommenders,
    *,
    model_type: str = "hybrid",
    seed: int = 0,
    budget_seconds: float = BUDGET_SECONDS,
    progress: ProgressCallback,
    start: Mapping[str, object] | None = None,
) -> Trained:
    """Choose a recipe on a validation cut of the training set, then fit it on all of it."""
    began = monotonic()
    recipe = select(
        dataset, recommenders, model_type, seed=seed, budget_seconds=budget_seconds, progress=progress, start=start
    )
    chosen = monotonic()
    recommender = recommenders.build(recipe.name, recipe.parameters)
    recommender.fit(dataset, seed=seed, progress=progress)
    return Trained(recommender, recipe, chosen - began, monotonic() - chosen)


def prepare(
    train_events: EventColumns,
    test_events: EventColumns,
    items: Sequence[Item] = (),
    users: Sequence[User] = (),
    policy: SignalPolicy | None = None,
    *,
    seen: str = SEEN[0],
) -> tuple[Dataset, HoldOut]:
    """The training set, ranked from at the moment after its last event, and the hold-out of the test events.

    Raises NotEnoughDataError without training events.
    """
    if not len(train_events.occurred_at):
        raise NotEnoughDataError("no training events")
    now = datetime.fromtimestamp(float(train_events.occurred_at.max()) + 1.0, UTC)
    dataset = dataset_from(train_events, policy or SignalPolicy(), now, items, users)
    return dataset, hold_out(dataset, test_events, users, seen=seen)


def judge_all(
    recommenders: Mapping[str, Scorer],
    dataset: Dataset,
    held_out: HoldOut,
    *,
    seed: int,
    names: Sequence[str],
    progress: ProgressCallback,
) -> dict[str, Evaluation]:
    """Several recommenders on the same hold-out, by the name given."""
    return {
        label: replace(evaluate(recommender, dataset, held_out, seed=seed, progress=progress, names=names), name=label)
        for label, recommender in recommenders.items()
    }


def ranks_among(recommender: Scorer, histories: Histories, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) rank from 0 of column 0 among each user's own candidates (n, width); ties go to the lower position.

    Items the recommender does not know are -1 and come last.
    """
    ranks = np.empty(len(histories), dtype=np.int64)

    def rank(start: int, batch: Histories) -> None:
        rows = slice(start, start + len(batch))
        asked = candidates[rows]
        scores = np.take_along_axis(recommender.score(batch), np.maximum(asked, 0), axis=1)
        scores[asked < 0] = -np.inf
        tied = (scores[:, 1:] == scores[:, :1]) & ((asked[:, 1:] < asked[:, :1]) | (asked[:, :1] < 0))
        ranks[rows] = ((scores[:, 1:] > scores[:, :1]) | tied).sum(axis=1)

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(thread_limit()) as threads:
        batches = histories.batches(max(1, _SCORE_CELLS // max(recommender.n_items, 1)))
        list(threads.map(lambda one: rank(*one), batches))
    return ranks


def peak_megabytes() -> float:
    """The most memory this process has held."""
    # ru_maxrss is in kilobytes on Linux and in bytes on macOS.
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
