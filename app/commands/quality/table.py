"""The quality table: bars, published rows, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, process_time

from app.application.evaluation.pipeline import BUDGET_SECONDS, peak_megabytes
from app.commands.quality.live import new_users, off_policy_value, streaming
from app.commands.quality.protocols import Figures, Protocol, ProtocolResult, cold_items, gowalla, negatives, next_item
from app.domain.recommender import ProgressCallback
from app.domain.threads import threads_told


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One row: protocol, bars by figure, limits of time and memory for one seed, and rows others have published."""

    name: str
    what: str
    protocol: Protocol
    must: Mapping[str, float]
    moonshot: Mapping[str, float] = field(default_factory=dict)
    canary: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    megabytes: float | None = None
    published: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


BENCHMARKS: Mapping[str, Benchmark] = {
    row.name: row
    for row in (
        Benchmark(
            "Q1",
            "ml-1m-ncf: the test item among its 99 given negatives",
            negatives,
            {"hr@10": 0.725, "ndcg@10": 0.450},
            {"hr@10": 0.735, "ndcg@10": 0.460},
            {"hr@10": 0.4538, "ndcg@10": 0.2543},
            60,
            1_000,
            {
                "ItemKNN": (0.669, 0.398),
                "NeuMF": (0.709, 0.435),
                "iALS": (0.711, 0.438),
                "SLIM": (0.716, 0.447),
                "EASE": (0.719, 0.449),
            },
        ),
        Benchmark(
            "Q2",
            "gowalla: full ranking, training items excluded",
            gowalla,
            {"recall@20": 0.187, "ndcg@20": 0.153},
            {"recall@20": 0.1920, "ndcg@20": 0.1597},
            {"recall@20": 0.0416, "ndcg@20": 0.0317},
            240,
            2_500,
            {
                "MF-BPR": (0.163, 0.138),
                "LightGCN": (0.182, 0.155),
                "EASE": (0.177, 0.147),
                "UltraGCN": (0.186, 0.158),
                "SimpleX": (0.187, 0.156),
                "BSPM-EM": (0.192, 0.160),
            },
        ),
        Benchmark(
            "Q3",
            "ml-1m-seq: next item, full ranking, seen items excluded",
            next_item,
            {"hr@10": 0.275, "ndcg@10": 0.160},
            {"hr@10": 0.3159, "ndcg@10": 0.1857},
            {"hr@10": 0.0364, "ndcg@10": 0.0179},
            60,
            1_500,
            {
                "SASRec": (0.250, 0.134),
                "BERT4Rec": (0.284, 0.154),
                "gSASRec": (0.300, 0.173),
                "SASRec+": (0.316, 0.186),
            },
        ),
        Benchmark(
            "Q4",
            "ML-1M, cold items: ranked from titles, genres and years alone",
            cold_items,
            {"recall@20": 0.19, "ndcg@20": 0.28},
            {"recall@20": 0.23, "ndcg@20": 0.33},
            seconds=30,
        ),
        Benchmark(
            "Q5",
            "ML-1M, new users: the next 20 events from the first k",
            new_users,
            {"ndcg@20 k=0": 0.188, "ndcg@20 k=10": 0.197},
            {"ndcg@20 k=1": 0.19, "ndcg@20 k=5": 0.17, "ndcg@20 k=10": 0.21},
        ),
        Benchmark(
            "Q6",
            "ML-1M, events as they come: rank before each of the last 30 %",
            streaming,
            {"hr@10 immediate": 0.27, "hr@10 5 late": 0.165},
            {"hr@10 immediate": 0.31},
        ),
        Benchmark("Q7", "Open Bandit (men): the value of BTS from uniform logs", off_policy_value, {}, seconds=5),
    )
}


def run_benchmark(name: str, seeds: int, budget_seconds: float | None, progress: ProgressCallback) -> dict[str, object]:
    """Run one row and say, figure by figure, what was measured and what was required. JSON-serialisable."""
    row = BENCHMARKS[name]
    outcomes, seconds, processor = [], [], []
    for seed in range(seeds):
        began, spent = monotonic(), process_time()
        outcomes.append(row.protocol(seed, budget_seconds or BUDGET_SECONDS, progress))
        seconds.append(round(monotonic() - began, 1))
        processor.append(round(process_time() - spent, 1))
    measured = _means([outcome.figures for outcome in outcomes])
    beside = {name: _means([outcome.beside[name] for outcome in outcomes]) for name in outcomes[0].beside}
    return {
        "benchmark": name,
        "what": row.what,
        "seeds": seeds,
        "measured": measured,
        "must": dict(row.must),
        "moonshot": dict(row.moonshot),
        "beside": beside,
        "published": {name: list(values) for name, values in row.published.items()},
        "seconds": seconds,
        "processor_seconds": processor,
        "seconds_limit": row.seconds,
        "peak_megabytes": round(peak_megabytes()),
        "threads": threads_told(),
        "megabytes_limit": row.megabytes,
        "stages": [_stages(outcome) for outcome in outcomes],
        "recipe": dict(outcomes[-1].recipe),
        "passed": _missed(row, measured, beside) == [],
        "missed": _missed(row, measured, beside),
    }


def _means(figures: Sequence[Figures]) -> Figures:
    return {name: round(sum(one[name] for one in figures) / len(figures), 5) for name in figures[0]}


def _stages(outcome: ProtocolResult) -> dict[str, float]:
    return {
        "select": round(outcome.select_seconds, 1),
        "fit": round(outcome.fit_seconds, 1),
        "rank": round(outcome.rank_seconds, 1),
    }


def _missed(row: Benchmark, measured: Figures, beside: Mapping[str, Figures]) -> list[str]:
    """Which bars were not met, in words."""
    missed = [f"{name} {measured[name]:.4f} < {bar:g}" for name, bar in row.must.items() if measured[name] < bar]
    popularity = beside.get("popularity", {})
    missed += [
        f"canary: popularity's {name} is {popularity[name]:.4f}, not {known:g}"
        for name, known in row.canary.items()
        if abs(popularity[name] - known) > 5e-4
    ]
    if row.name == "Q5":
        missed += [
            f"{name} {value:.4f} < max of the simple ones - .002"
            for name, value in measured.items()
            if value < max(one[name] for one in beside.values()) - 0.002
        ]
    if row.name == "Q6" and measured["hr@10 immediate"] < 2.5 * measured["hr@10 frozen"]:
        missed.append("immediate < 2.5 x frozen")
    if row.name == "Q7":
        truth = measured["on-policy"]
        missed += [
            f"{name}: the interval misses the truth"
            for name in ("ips", "snips", "dr")
            if not measured[f"{name} low"] <= truth <= measured[f"{name} high"]
        ]
    return missed
