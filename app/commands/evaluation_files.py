"""`encore evaluate --train … --test …`: the default pipeline on anybody's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.application.evaluation.evaluation import DEFAULT_METRICS, Evaluation
from app.application.evaluation.event_table import EventTable
from app.application.evaluation.fold_in_check import judge_fold_in
from app.application.evaluation.hold_out import SEEN, HoldOut, take_rows
from app.application.evaluation.pipeline import Trained, judge_all, peak_megabytes, prepare, ranks_among, train
from app.application.transfer.catalog_file_rows import ITEMS, USERS, CatalogRows, Reading
from app.domain.dataset import Dataset
from app.domain.entities import EventColumns, Item, User
from app.domain.exceptions import InputError
from app.domain.metrics import compute_metrics
from app.domain.recommender import ProgressCallback, Recommender, Scorer
from app.domain.threads import threads_told
from app.infrastructure.files import open_reader
from app.models import RECOMMENDERS

_BATCH_ROWS = 5_000
EntryT = TypeVar("EntryT", bound=Item | User)
_AMONG_METRICS = ("hr@10", "ndcg@10")


@dataclass(frozen=True, slots=True)
class Files:
    """What was given."""

    train: Path
    test: Path
    items: Path | None = None
    users: Path | None = None
    negatives: Path | None = None


def run_on_files(
    files: Files,
    *,
    names: Sequence[str],
    model_type: str,
    seeds: int,
    budget_seconds: float,
    fold_in: bool,
    progress: ProgressCallback,
    seen: str = SEEN[0],
) -> dict[str, object]:
    """Fit with selection, rank for the users of the test, measure; per seed, then together. JSON-serialisable."""
    train_events, test_events, rejected = _events(files)
    items = tuple(_catalog(files.items, ITEMS)) if files.items else ()
    users = tuple(_catalog(files.users, USERS)) if files.users else ()
    dataset, held_out = prepare(train_events, test_events, items, users, seen=seen)
    chosen = tuple(names) or DEFAULT_METRICS
    popularity = _popularity(dataset, progress)
    runs = []
    for seed in range(seeds):
        trained = train(
            dataset,
            RECOMMENDERS,
            model_type=model_type,
            seed=seed,
            budget_seconds=budget_seconds,
            progress=progress,
        )
        runs.append(_run(trained, popularity, dataset, held_out, files, tuple(names), chosen, seed, progress))
    result = {
        **_together(runs),
        "data": {**_facts(dataset, held_out, seen), "rejected_rows": rejected},
        "peak_megabytes": round(peak_megabytes()),
        "threads": threads_told(),
    }
    if fold_in:
        result["fold_in"] = judge_fold_in(dataset, RECOMMENDERS, trained.recipe, seed=0, progress=progress)
    return result


def _events(files: Files) -> tuple[EventColumns, EventColumns, int]:
    tables = []
    for path in (files.train, files.test):
        table = EventTable()
        table.read(open_reader(path))
        tables.append(table)
    return tables[0].columns(), tables[1].columns(), sum(table.rejected for table in tables)


def _catalog(path: Path, rows: CatalogRows[EntryT]) -> list[EntryT]:
    reader = open_reader(path, rows.columns)
    reading = Reading(datetime.now(UTC), datetime.fromtimestamp(reader.modified(), UTC))
    found: list[EntryT] = []
    for batch in reader.batches(_BATCH_ROWS):
        found.extend(rows.decode(batch, reading)[0])
    return found


def _popularity(dataset: Dataset, progress: ProgressCallback) -> Recommender:
    popularity = RECOMMENDERS.build("popularity", {})
    popularity.fit(dataset, seed=0, progress=progress)
    return popularity


@dataclass(frozen=True, slots=True)
class _Run:
    evaluations: Mapping[str, Evaluation]
    among: Mapping[str, Mapping[str, float]]
    trained: Trained


def _run(
    trained: Trained,
    popularity: Recommender,
    dataset: Dataset,
    held_out: HoldOut,
    files: Files,
    given: tuple[str, ...],
    names: tuple[str, ...],
    seed: int,
    progress: ProgressCallback,
) -> _Run:
    scorers: dict[str, Scorer] = {trained.recipe.name: trained.recommender}
    scorers.setdefault("popularity", popularity)
    evaluations = judge_all(scorers, dataset, held_out, seed=seed, names=names, progress=progress)
    among = {}
    if files.negatives is not None:
        users, candidates = read_negatives(files.negatives, dataset)
        for label, scorer in scorers.items():
            among[label] = _among(scorer, dataset, users, candidates, given or _AMONG_METRICS)
    return _Run(evaluations, among, trained)


def read_negatives(path: Path, dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows of the users, (n, width) candidates, the test item first, -1 for items the training set does not have).

    A line is: user, test item, negatives; tab-separated. Lines of users without training events are left out; shorter
    lines are filled with -1. Raises InputError where no line is left.
    """
    users, rows = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        user_id, *item_ids = line.rstrip("\r").split("\t")
        row = dataset.users.position(user_id)
        if row is not None and len(item_ids) > 1:
            users.append(row)
            known = (dataset.items.position(item_id) for item_id in item_ids)
            rows.append([-1 if position is None else position for position in known])
    if not rows:
        raise InputError("no line of the negatives has a user of the training file", "negatives")
    width = max(len(row) for row in rows)
    filled = [row + [-1] * (width - len(row)) for row in rows]
    return np.array(users, dtype=np.int64), np.array(filled, dtype=np.int64)


def _among(
    scorer: Scorer,
    dataset: Dataset,
    users: NDArray[np.int64],
    candidates: NDArray[np.int64],
    names: Sequence[str],
) -> dict[str, float]:
    ranks = ranks_among(scorer, take_rows(dataset.histories, users), candidates)
    hits = ranks[:, None] == np.arange(candidates.shape[1])
    ones = np.ones(len(ranks), dtype=np.int64)
    return {name: float(values.mean(dtype=np.float64)) for name, values in compute_metrics(hits, ones, names).items()}


def _facts(dataset: Dataset, held_out: HoldOut, seen: str) -> dict[str, object]:
    return {
        "train_users": dataset.n_users,
        "items": dataset.n_items,
        "train_pairs": len(dataset.histories.items),
        "test_users": len(held_out),
        "test_pairs": int(held_out.n_relevant.sum()),
        "test_pairs_of_unknown_items": int(held_out.unrankable.sum()) - (held_out.seen_pairs if seen == SEEN[1] else 0),
        "test_pairs_seen_in_train": held_out.seen_pairs,
        "test_users_left_out": held_out.seen_users,
        "seen": seen,
    }


def _together(runs: Sequence[_Run]) -> dict[str, object]:
    """The summary of the first seed, its means replaced by those over all seeds."""
    labels = list(runs[0].evaluations)
    judged: dict[str, dict[str, object]] = {}
    for label in labels:
        summary = runs[0].evaluations[label].summary()
        means = {
            name: [run.evaluations[label].mean(name) for run in runs] for name in runs[0].evaluations[label].per_user
        }
        for name, figure in dict(summary["metrics"]).items():  # type: ignore[call-overload] # a mapping
            figure["mean"] = sum(means[name]) / len(runs)
            figure["seeds"] = means[name]
        judged[label] = summary
    result: dict[str, object] = {"recommenders": judged}
    if runs[0].among:
        result["among_negatives"] = {
            label: {name: sum(run.among[label][name] for run in runs) / len(runs) for name in figures}
            for label, figures in runs[0].among.items()
        }
    result["recipe"] = {"name": runs[-1].trained.recipe.name, **runs[-1].trained.recipe.parameters}
    result["selection"] = [dict(row) for row in runs[-1].trained.recipe.table]
    result["seconds"] = [
        {"select": round(run.trained.select_seconds, 1), "fit": round(run.trained.fit_seconds, 1)} for run in runs
    ]
    return result
