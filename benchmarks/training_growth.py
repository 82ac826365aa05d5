"""How the default training grows with its data: selection, evaluation of two models, final refit.

    python -m benchmarks.training_growth [1 2 4 8]

Size 1 is that of ML-1M: 6,000 users, 3,500 items, a million events of generated tastes; size k has k times the events
and users, and √k times the items. One line per size, each from a process of its own: processor seconds, seconds, peak.
"""

from __future__ import annotations

import subprocess
import sys
from time import monotonic, process_time

from app.application.evaluation.pipeline import judge_all, peak_megabytes, prepare, train
from app.commands.quality.protocols import dataset_of
from app.domain.splits import time_split
from app.models import RECOMMENDERS
from benchmarks.machine import report
from benchmarks.odd_data import tasteful
from benchmarks.odd_shapes import silent

BENCHMARK = "training_growth"
USERS, ITEMS, EVENTS = 6_000, 3_500, 1_000_000
_NAMES = ("ndcg@10",)


def measure(size: int) -> None:
    """What a training job does between reading the events and writing the artifact."""
    everything = tasteful(USERS * size, round(ITEMS * size**0.5), EVENTS * size).train
    began, spent = monotonic(), process_time()
    dataset, asked = prepare(*time_split(everything, 0.1))
    trained = train(dataset, RECOMMENDERS, progress=silent)
    popularity = RECOMMENDERS.build("popularity", {})
    popularity.fit(dataset, seed=0, progress=silent)
    scorers = {"candidate": trained.recommender, "popularity": popularity}
    found = judge_all(scorers, dataset, asked, seed=0, names=_NAMES, progress=silent)
    chosen = process_time()
    refitted = RECOMMENDERS.build(trained.recipe.name, trained.recipe.parameters)
    refitted.fit(dataset_of(everything), seed=0, progress=silent)
    report(
        BENCHMARK,
        f"size {size}",
        process_time() - spent,
        "cpu s",
        seconds=round(monotonic() - began, 1),
        select_seconds=round(trained.select_seconds, 1),
        refit_cpu_s=round(process_time() - chosen, 1),
        peak_megabytes=round(peak_megabytes()),
        events=len(everything.user),
        **{name: round(one.mean("ndcg@10"), 4) for name, one in found.items()},
    )


def main() -> None:
    """Without sizes: 1, 2, 4 and 8."""
    sizes = [int(text) for text in sys.argv[1:]] or [1, 2, 4, 8]
    if len(sizes) == 1:
        measure(sizes[0])
        return
    for size in sizes:
        subprocess.run([sys.executable, "-m", "benchmarks.training_growth", str(size)], check=True, timeout=3_600)


if __name__ == "__main__":
    main()
