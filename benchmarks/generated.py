"""The default pipeline on generated data whose truth is known, beside its single members and the oracle.

    python -m benchmarks.generated [shop-190k tags …] [--scale 0.1] [--seeds 1] [--singles] [--write FOLDER]

One JSON line per shape: figures of the pipeline, popularity, the oracle (what the generator itself would list), with
`--singles` of every single recommender after its own selection; processor seconds; members chosen. It is the pipeline
of `encore evaluate --train … --test …`; `--write` leaves its files behind, so that the command itself can be run.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray

from app.application.evaluation.hold_out import HoldOut
from app.application.evaluation.pipeline import prepare, train
from app.application.evaluation.top_lists import hits_of, top_lists
from app.domain import metrics
from app.domain.dataset import Dataset, Histories
from app.domain.entities import KINDS, EventColumns
from app.domain.exceptions import NotEnoughDataError
from app.domain.recommender import Scorer
from app.models import RECOMMENDERS
from benchmarks.machine import report
from benchmarks.odd_shapes import silent
from benchmarks.shape_data import SHAPES, Generated

BENCHMARK = "generated"
SINGLES = ("sequence", "transitions", "rp3", "graph", "ials", "content", "profile", "lightfm")


def main() -> int:
    """Print the figures of the shapes named, or of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=[], choices=[*SHAPES, []])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--budget", type=float, default=120.0)
    parser.add_argument("--singles", action="store_true")
    parser.add_argument("--table", action="store_true", help="what selection tried, on standard error")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    for name in given.shapes or list(SHAPES):
        for seed in range(given.seeds):
            made = SHAPES[name](seed, given.scale)
            if given.write is not None:
                write(made, given.write / name)
            measure(name, made, seed, given.budget, singles=given.singles, table=given.table)
    return 0


def measure(name: str, made: Generated, seed: int, budget: float, *, singles: bool, table: bool = False) -> None:
    """One line."""
    dataset, asked = prepare(made.train, made.test, made.items, made.users, seen=made.seen)
    began = process_time()
    trained = train(dataset, RECOMMENDERS, seed=seed, budget_seconds=budget, progress=silent)
    spent = process_time() - began
    if table:
        for row in trained.recipe.table:
            sys.stderr.write(f"{dict(row)}\n")
    scorers: dict[str, Scorer] = {"pipeline": trained.recommender, "oracle": Truth(made, dataset, asked)}
    scorers["popularity"] = RECOMMENDERS.build("popularity", {})
    scorers["popularity"].fit(dataset, seed=seed, progress=silent)  # type: ignore[attr-defined] # a recommender
    members = trained.recipe.parameters.get("members", {})
    assert isinstance(members, Mapping)
    for single in SINGLES if singles else ():
        if single in RECOMMENDERS.names() and (single in members or single not in {"lightfm", "profile"}):
            one = _single(single, dataset, seed, budget)
            if one is not None:
                scorers[single] = one
    found = {label: figures(one, made, dataset, asked) for label, one in scorers.items()}
    first = made.metrics[0] if made.cold is None else f"cold {made.metrics[0]}"
    report(
        BENCHMARK,
        name,
        found["pipeline"][first],
        first,
        seed=seed,
        figures={label: {key: round(value, 4) for key, value in row.items()} for label, row in found.items()},
        members=sorted(members),
        users=dataset.n_users,
        items=dataset.n_items,
        pairs=len(dataset.histories.items),
        processor_seconds=round(spent, 1),
    )


def _single(name: str, dataset: Dataset, seed: int, budget: float) -> Scorer | None:
    try:
        return train(
            dataset, RECOMMENDERS, model_type=name, seed=seed, budget_seconds=budget, progress=silent
        ).recommender
    except NotEnoughDataError:
        return None


class Truth(Scorer):
    """The generator's own chances, in the training set's order of items; rows are the users of the hold-out in turn."""

    name = "oracle"

    def __init__(self, made: Generated, dataset: Dataset, asked: HoldOut) -> None:
        self._made, self._users = made, asked.users
        self._columns = np.array([int(item) for item in dataset.items.ids])

    @property
    def n_items(self) -> int:
        return len(self._columns)

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Scores of these users of the hold-out."""
        chances = [self._made.oracle(int(self._users[row]))[self._columns] for row in range(first, last)]
        return np.log(np.stack(chances) + 1e-12).astype(np.float32)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
        raise NotImplementedError("the oracle knows users, not histories")


def figures(scorer: Scorer, made: Generated, dataset: Dataset, asked: HoldOut) -> Mapping[str, float]:
    """Means over users: among everything, and among the cold items where the shape has some."""
    depth = max(metrics.parse_metric(name)[1] for name in made.metrics)
    found: dict[str, float] = {}
    for label, allowed in _catalogs(made, dataset):
        lists = _lists(scorer, asked, depth, allowed)
        values = metrics.compute_metrics(hits_of(lists, asked.relevant), asked.n_relevant, made.metrics)
        found |= {f"{label}{name}": float(value.mean(dtype=np.float64)) for name, value in values.items()}
    return found


def _catalogs(made: Generated, dataset: Dataset) -> Sequence[tuple[str, NDArray[np.bool_] | None]]:
    if made.cold is None:
        return [("", None)]
    return [("", None), ("cold ", made.cold[np.array([int(item) for item in dataset.items.ids])])]


def _lists(scorer: Scorer, asked: HoldOut, depth: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.int32]:
    if not isinstance(scorer, Truth):
        return top_lists(scorer, asked.histories, depth, allowed=allowed, exclude_seen=not asked.may_return)[0]
    lists = []
    for row in range(len(asked)):
        scores = scorer.rows(row, row + 1)[0]
        history = asked.histories.rows(row, row + 1)
        if not asked.may_return:
            scores[history.items] = -np.inf
        if allowed is not None:
            scores[~allowed] = -np.inf
        lists.append(np.argsort(-scores, kind="stable")[:depth])
    return np.array(lists, dtype=np.int32)


def write(made: Generated, folder: Path) -> None:
    """train.csv, test.csv, and items.csv and users.csv where there is something to say."""
    folder.mkdir(parents=True, exist_ok=True)
    for label, events in (("train", made.train), ("test", made.test)):
        _write(folder / f"{label}.csv", ["user_id", "item_id", "kind", "timestamp"], _event_rows(events))
    if made.items:
        rows = [[item.item_id, "|".join(item.genres), "|".join(item.tags)] for item in made.items]
        _write(folder / "items.csv", ["item_id", "genres", "tags"], rows)
    if made.users:
        names = list(made.users[0].attributes)
        people = [[user.user_id, *(str(user.attributes[name]) for name in names)] for user in made.users]
        _write(folder / "users.csv", ["user_id", *names], people)


def _event_rows(events: EventColumns) -> list[list[str]]:
    return [
        [events.user_ids[user], events.item_ids[item], KINDS[kind].value, f"{time:.0f}"]
        for user, item, kind, time in zip(events.user, events.item, events.kind, events.occurred_at, strict=True)
    ]


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
