"""What diversity costs: NDCG@10, intra-list diversity and coverage of real lists, over the knob.

python -m benchmarks.diversity [strength …]        default 0 0.05 0.1 0.2 0.3 0.5 0.7

ml-latest-small (ENCORE_BENCH_DATA), likes (ratings of 3.5 and more), the newest tenth held out; the recipe that
selection chooses; lists as they are served, by `rank_list`. Also: the processor time of the reordering alone.
"""

from __future__ import annotations

import csv
import re
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.application.evaluation.event_table import plain_columns
from app.application.evaluation.hold_out import HoldOut, hold_out
from app.application.evaluation.selection import select
from app.application.evaluation.top_lists import hits_of
from app.application.ranking.list_ranking import RankingTask, rank_list
from app.application.ranking.serving_state import ServingState
from app.commands.quality.data import data_folder
from app.domain import list_metrics, metrics
from app.domain.catalog_view import CatalogView
from app.domain.dataset import Dataset
from app.domain.diversity import mmr_order, unit_length
from app.domain.entities import EventColumns, Item
from app.domain.list_query import Filters, ModelRef
from app.domain.rules import RerankOptions
from app.domain.signals import SignalPolicy, dataset_from
from app.domain.splits import time_split
from app.models import RECOMMENDERS
from benchmarks.machine import report

BENCHMARK = "diversity"
LIKED = 3.5
BUDGET_SECONDS = 60.0
STRENGTHS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def movies(folder: Path) -> list[Item]:
    """The catalog."""
    found = []
    with (folder / "movies.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            year = re.search(r"\((\d{4})\)\s*$", row["title"])
            title = row["title"][: year.start()].strip() if year else row["title"]
            genres = tuple(genre for genre in row["genres"].split("|") if not genre.startswith("("))
            found.append(Item(row["movieId"], LONG_AGO, title, genres=genres, year=int(year[1]) if year else None))
    return found


def likes(folder: Path) -> EventColumns:
    """Ratings of 3.5 and more, as likes."""
    with (folder / "ratings.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if float(row["rating"]) >= LIKED]
    users, user = np.unique([row["userId"] for row in rows], return_inverse=True)
    items, item = np.unique([row["movieId"] for row in rows], return_inverse=True)
    times = np.array([float(row["timestamp"]) for row in rows])
    return plain_columns(tuple(users.tolist()), tuple(items.tolist()), user, item, times)


def prepared() -> tuple[ServingState, Dataset, HoldOut, datetime]:
    """A serving state fitted to the older nine tenths, and what the last tenth asks for."""
    folder = data_folder() / "ml-latest-small"
    catalog = movies(folder)
    older, newer = time_split(likes(folder), 0.1)
    now = datetime.fromtimestamp(float(older.occurred_at.max()), UTC)
    train = dataset_from(older, SignalPolicy(), now, catalog, ())
    recipe = select(train, RECOMMENDERS, "hybrid", seed=0, budget_seconds=BUDGET_SECONDS, progress=lambda *_: None)
    sys.stderr.write(f"{recipe.parameters}\n")
    recommender = RECOMMENDERS.build(recipe.name, recipe.parameters)
    recommender.fit(train, seed=0, progress=lambda *_: None)
    known = [item for item in catalog if item.item_id in train.items]
    view = CatalogView.of_model(train.items).updated(known, (), 1)
    return ServingState(view, ModelRef("m", "hybrid", 1), recommender), train, hold_out(train, newer), now


def lists(serving: ServingState, held: HoldOut, now: datetime, strength: float) -> NDArray[np.int32]:
    """(n_users, 10) the lists that would be served, -1 where one is shorter."""
    made = np.full((len(held), 10), -1, dtype=np.int32)
    for row, history in enumerate(histories(serving, held)):
        ranked = rank_list(serving, RankingTask("hybrid", Filters(), history, 100, shape=RerankOptions(strength)), now)
        made[row, : len(ranked.positions[:10])] = ranked.positions[:10]
    return made


def histories(serving: ServingState, held: HoldOut) -> Iterator[Sequence[tuple[str, float, float]]]:
    """Each user's, as the service reads it."""
    for start in range(len(held)):
        one = held.histories.rows(start, start + 1)
        names = [serving.view.ids.ids[position] for position in one.items.tolist()]
        yield list(zip(names, one.weights.tolist(), one.times.tolist(), strict=True))


def measure(strengths: Sequence[float]) -> None:
    """Every figure at every strength."""
    serving, train, held, now = prepared()
    counts = np.bincount(train.histories.items, minlength=len(serving.view)).astype(np.int64)
    features = None if train.item_features is None else train.item_features.matrix
    for strength in strengths:
        began = time.thread_time()
        made = lists(serving, held, now, strength)
        milliseconds = (time.thread_time() - began) / len(held) * 1_000
        values = metrics.compute_metrics(hits_of(made, held.relevant), held.n_relevant, ["ndcg@10", "recall@10"])
        described = list_metrics.list_figures(made, counts, train.n_users, features)
        told = {"strength": strength, "users": len(held), "items": len(serving.view)}
        for name, per_user in values.items():
            low, high = metrics.bootstrap_interval(per_user, seed=0)
            report(BENCHMARK, name, float(per_user.mean()), "", low=round(low, 4), high=round(high, 4), **told)
        for name in ("diversity", "coverage", "novelty"):
            report(BENCHMARK, name, described[name], "", **told)
        report(BENCHMARK, "processor time a list", milliseconds, "ms", **told)


def reordering() -> None:
    """MMR alone: 100 of 300, with 64 genre columns and 128 factors."""
    random = np.random.default_rng(0)
    relevance = random.random(300).astype(np.float32)
    vectors = unit_length(random.standard_normal((300, 192)).astype(np.float32))
    began = time.thread_time()
    for _ in range(1_000):
        mmr_order(relevance, vectors, 0.3, 100)
    report(BENCHMARK, "100 of 300", time.thread_time() - began, "ms", factors=192)


if __name__ == "__main__":
    reordering()
    measure([float(strength) for strength in sys.argv[1:]] or STRENGTHS)
