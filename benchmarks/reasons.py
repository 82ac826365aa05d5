"""Are reasons true? Contributions against scores, and against what a score loses when the cited item is taken away.

    python -m benchmarks.reasons

One line per recommender on generated tastes: over sampled histories and their ten best items, the largest difference
between the sum of contributions and the score, and between a contribution and the measured loss, as shares of the
largest score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from app.application.evaluation.pipeline import train
from app.application.evaluation.top_lists import top_lists
from app.commands.quality.protocols import dataset_of
from app.domain.dataset import Dataset, Histories
from app.domain.recommender import Recommender
from app.domain.splits import keep_entries
from app.models import RECOMMENDERS
from benchmarks.machine import report
from benchmarks.odd_data import tasteful
from benchmarks.odd_shapes import silent

BENCHMARK = "reasons"
USERS, DELETIONS = 40, 8
MEMBERS: Mapping[str, Mapping[str, object]] = {
    "ials": {"factors": 64, "epochs": 6},
    "graph": {"factors": 64},
    "sequence": {"factors": 64, "slow": 0.8},
    "rp3": {},
    "item-item": {},
    "ease": {},
}


def largest_errors(recommender: Recommender, dataset: Dataset) -> tuple[float, float, int]:
    """(error of sums, error of deletions, deletions tried), errors as shares of the largest absolute score."""
    rows = np.linspace(0, dataset.n_users - 1, USERS).astype(int)
    largest, of_sums, of_deletions, tried = 1e-9, 0.0, 0.0, 0
    for row in rows.tolist():
        one = dataset.histories.rows(row, row + 1)
        items = top_lists(recommender, one, 10)[0][0]
        items = items[items >= 0]
        scores = recommender.score(one, items)[0]
        parts = recommender.contributions(one, items)
        largest = max(largest, float(np.abs(scores).max(initial=0.0)))
        of_sums = max(of_sums, float(np.abs(parts.sum(axis=0) - scores).max(initial=0.0)))
        for entry in np.argsort(-parts[:-1].max(axis=1, initial=0.0))[:DELETIONS].tolist():
            lost = scores - recommender.score(_without(one, entry), items)[0]
            of_deletions = max(of_deletions, float(np.abs(parts[entry] - lost).max(initial=0.0)))
            tried += 1
    return of_sums / largest, of_deletions / largest, tried


def _without(one: Histories, entry: int) -> Histories:
    return keep_entries(one, np.arange(len(one.items)) != entry)


def main() -> None:
    """Every kind of member alone, then the blend that selection makes of them."""
    shape = tasteful(1_000, 1_500, 60_000)
    dataset = dataset_of(shape.train)
    fitted: dict[str, Recommender] = {}
    for name, parameters in MEMBERS.items():
        fitted[name] = RECOMMENDERS.build(name, parameters)
        fitted[name].fit(dataset, seed=0, progress=silent)
    blend = train(dataset, RECOMMENDERS, budget_seconds=30.0, progress=silent)
    fitted["hybrid"] = blend.recommender
    # Dislikes and likes of other strengths must not break the arithmetic.
    weights = dataset.histories.weights.copy()
    weights[::7] = -1.0
    weights[::5] *= np.float32(2.0)
    mixed = replace(dataset, histories=replace(dataset.histories, weights=weights))
    for name, recommender in fitted.items():
        of_sums, of_deletions, tried = largest_errors(recommender, mixed)
        report(BENCHMARK, name, of_sums, "sum error / largest score", deletion_error=of_deletions, deletions=tried)


if __name__ == "__main__":
    main()
