"""Data of odd shape through the default pipeline: never a crash, never worse than popularity beyond noise.

    python -m benchmarks.odd_shapes [one_item_per_user two_groups … many_users large]

One JSON line per shape, each from a process of its own: NDCG@10 of the pipeline and of popularity, the share of paired
resamples in which the pipeline is at least as good, minutes, peak memory, members chosen. Exit 1 where one is worse.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from time import monotonic, process_time

from app.application.evaluation.hold_out import hold_out
from app.application.evaluation.pipeline import judge_all, peak_megabytes, train
from app.commands.quality.protocols import dataset_of
from app.domain.exceptions import NotEnoughDataError
from app.domain.metrics import probability_better
from app.models import RECOMMENDERS
from benchmarks.machine import report
from benchmarks.odd_data import LARGE, SMALL, Shape

BENCHMARK = "odd_shapes"
NOISE = 0.025
"""Worse is what loses in more than 97.5 % of paired resamples."""


def silent(stage: str, fraction: float) -> None:
    """Nobody watches."""


def judged(shape: Shape, seed: int = 0, budget_seconds: float = 120.0) -> Mapping[str, object]:
    """`pipeline` and `popularity`: NDCG@10; `at_least_as_good`; `members`. Without a hold-out only `members`."""
    dataset = dataset_of(shape.train, shape.items)
    try:
        asked = hold_out(dataset, shape.test)
    except NotEnoughDataError:
        asked = None  # everything in the test was seen before: what is left to show is that training works
    trained = train(dataset, RECOMMENDERS, seed=seed, budget_seconds=budget_seconds, progress=silent)
    members = trained.recipe.parameters.get("members", {})
    assert isinstance(members, Mapping)
    if asked is None:
        return {"members": sorted(members)}
    popularity = RECOMMENDERS.build("popularity", {})
    popularity.fit(dataset, seed=seed, progress=silent)
    scorers = {"pipeline": trained.recommender, "popularity": popularity}
    found = judge_all(scorers, dataset, asked, seed=seed, names=("ndcg@10",), progress=silent)
    ours, theirs = (found[name].per_user["ndcg@10"] for name in scorers)
    better = probability_better(ours, theirs, factor=1.0, seed=seed)
    figures = {name: round(one.mean("ndcg@10"), 5) for name, one in found.items()}
    return {**figures, "at_least_as_good": better, "members": sorted(members)}


def measure(name: str) -> bool:
    """Print the figures of one shape; False where the pipeline is worse than popularity."""
    shape = {**SMALL, **LARGE}[name](0)
    began, spent = monotonic(), process_time()
    figures = judged(shape)
    report(
        BENCHMARK,
        name,
        float(str(figures.get("pipeline", 0.0))),
        "ndcg@10",
        **{key: value for key, value in figures.items() if key != "pipeline"},
        seconds=round(monotonic() - began, 1),
        processor_seconds=round(process_time() - spent, 1),
        peak_megabytes=round(peak_megabytes()),
    )
    return float(str(figures.get("at_least_as_good", 1.0))) >= NOISE


def main() -> int:
    """Without names: all of them."""
    names = sys.argv[1:] or [*SMALL, *LARGE]
    if len(names) == 1:
        return 0 if measure(names[0]) else 1
    command = [sys.executable, "-m", "benchmarks.odd_shapes"]
    codes = [subprocess.run([*command, name], check=False, timeout=3_600) for name in names]
    return 0 if all(code.returncode == 0 for code in codes) else 1


if __name__ == "__main__":
    sys.exit(main())
