"""`encore import` and `encore train` from the outside: seconds, peak memory, quality beside popularity."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import report
from benchmarks.processes import ROOT, Home

BENCHMARK = "training_time"
DATA = Path(os.environ.get("ENCORE_BENCH_DATA", ROOT.parent / "shared" / "data"))


def means(summary: Mapping[str, Any]) -> Mapping[str, float]:
    """ndcg@10 and recall@20 of an evaluation."""
    return {name: round(summary["metrics"][name]["mean"], 4) for name in ("ndcg@10", "recall@20")}


def main() -> None:
    """Print the figures for ml-latest-small, or say that it is not there."""
    source = DATA / "ml-latest-small"
    if not source.is_dir():
        sys.stderr.write(f"{BENCHMARK}: {source} is not there; ENCORE_BENCH_DATA names the folder\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), settings={"ENCORE_TRAIN_TIME_BUDGET_SECONDS": "30"})
        home.run("migrate")
        started = time.perf_counter()
        home.run("import", "movielens", str(source))
        report(BENCHMARK, "import", time.perf_counter() - started, "s", data=source.name)
        started = time.perf_counter()
        result = home.ask("train")
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1_024
    report(
        BENCHMARK,
        "train",
        seconds,
        "s",
        data=source.name,
        status=result["status"],
        candidate=means(result["metrics"]["candidate"]),
        popularity=means(result["metrics"]["popularity"]),
        peak_mib=round(peak),
    )


if __name__ == "__main__":
    main()
