"""The transformer alone and in the blend, beside the linear sequence, on the next item of ML-1M. Needs extra `torch`.

    python -m benchmarks.transformer [alone] [blend]

The protocol of Q3: everybody's last item, ranked among all unseen ones. `alone`: both with their defaults, what their
training takes, and what a list and its reasons cost with 200 events of history. `blend`: the default pipeline with
ENCORE_TRAIN_TRANSFORMER at `never` and at `always`. Data: ENCORE_BENCH_DATA.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from time import monotonic, process_time

import numpy as np
from threadpoolctl import threadpool_limits

from app.application.evaluation.hold_out import hold_out
from app.application.evaluation.pipeline import peak_megabytes, train
from app.application.evaluation.top_lists import hits_of, top_lists
from app.commands.quality import data
from app.commands.quality.protocols import dataset_of
from app.domain import metrics
from app.domain.dataset import Dataset, Histories
from app.domain.entities import EventColumns
from app.domain.recommender import Blended, Recommender, Scorer
from app.models import RECOMMENDERS, RecommenderTable
from benchmarks.machine import report
from benchmarks.odd_shapes import silent

BENCHMARK = "transformer"
NAMES = ("hr@10", "ndcg@10")
TIMES = 50


def judged(scorer: Scorer, dataset: Dataset, test: EventColumns) -> Mapping[str, float]:
    """Full ranking, seen items excluded."""
    asked = hold_out(dataset, test)
    lists, _ = top_lists(scorer, asked.histories, 10)
    values = metrics.compute_metrics(hits_of(lists, asked.relevant), asked.n_relevant, NAMES)
    return {name: round(float(value.mean(dtype=np.float64)), 4) for name, value in values.items()}


def alone(name: str, dataset: Dataset, test: EventColumns) -> Recommender:
    """Fit one with its defaults and report it."""
    began, clock = process_time(), monotonic()
    recommender = RECOMMENDERS.build(name, {})
    recommender.fit(dataset, seed=0, progress=silent)
    spent = {"cpu_s": round(process_time() - began, 1), "clock_s": round(monotonic() - clock, 1)}
    figures = judged(recommender, dataset, test)
    report(BENCHMARK, name, figures["ndcg@10"], "ndcg@10", **figures, **spent, mb=round(peak_megabytes()))
    return recommender


def blended(dataset: Dataset, test: EventColumns) -> None:
    """The default pipeline without and with it."""
    for when in ("never", "always"):
        began, clock = process_time(), monotonic()
        trained = train(dataset, RecommenderTable(when), progress=silent)
        spent = {"cpu_s": round(process_time() - began, 1), "clock_s": round(monotonic() - clock, 1)}
        figures = judged(trained.recommender, dataset, test)
        members = list(trained.recommender.members) if isinstance(trained.recommender, Blended) else []
        more = {"members": members, "weights": trained.recipe.parameters.get("weights"), "mb": round(peak_megabytes())}
        report(BENCHMARK, f"blend, transformer {when}", figures["ndcg@10"], "ndcg@10", **figures, **spent, **more)


def cost(recommender: Recommender, dataset: Dataset) -> None:
    """Milliseconds of one list and of the reasons of ten items, on one thread."""
    items = np.random.default_rng(0).permutation(dataset.n_items)[:200].astype(np.int32)
    ones = np.ones(200, dtype=np.float32)
    one = Histories.single(items, ones, np.arange(200.0)[::-1], 200.0)
    with threadpool_limits(1):
        timed(f"{recommender.name}, a list", lambda: recommender.score(one))
        timed(f"{recommender.name}, ten reasons", lambda: recommender.contributions(one, items[:10]))


def timed(figure: str, work: Callable[[], object]) -> None:
    """Report the mean processor time of TIMES calls."""
    work()
    began = process_time()
    for _ in range(TIMES):
        work()
    report(BENCHMARK, figure, 1e3 * (process_time() - began) / TIMES, "cpu ms", events=200)


def main() -> None:
    """What is named, or both."""
    asked = sys.argv[1:] or ("alone", "blend")
    pairs = data.movielens_sequences()
    is_last = np.append(pairs.user[1:] != pairs.user[:-1], True)
    dataset, test = dataset_of(pairs.events(~is_last)), pairs.events(is_last)
    if "alone" in asked:
        for name in ("sequence", "transformer"):
            cost(alone(name, dataset, test), dataset)
    if "blend" in asked:
        blended(dataset, test)


if __name__ == "__main__":
    main()
