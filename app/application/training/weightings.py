"""Would other weights of signals make better lists? Each is judged as a training would be, and nothing is stored."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from app.application.evaluation.evaluation import Evaluation
from app.application.training.background_computation import ProgressTracker, compute
from app.application.training.comparison import ModelComparison, Snapshot, TrainingPolicy
from app.domain.entities import Kind
from app.domain.exceptions import InputError, TrainingCancelledError
from app.domain.metrics import probability_better
from app.domain.recommender import ProgressCallback, Recommenders
from app.domain.signals import SignalPolicy

CURRENT_WEIGHTS = "as set"
"""The weighting of the settings, beside which all others stand."""

_HALF_LIFE = "half_life_days"
_MAX_WEIGHT, _MAX_DAYS = 10.0, 36_500.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class WeightingResult:
    """One weighting's evaluation, and the share of paired resamples in which it is not worse than CURRENT_WEIGHTS."""

    label: str
    evaluation: Evaluation
    probability: float


def parse_weighting(text: str, signals: SignalPolicy) -> SignalPolicy:
    """`watch=2,view=0,half_life_days=90`: what is named is changed. Raises InputError."""
    weights, half_life = dict(signals.weights), signals.half_life_days
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        value = _number(number)
        if name == _HALF_LIFE and 0.0 < value <= _MAX_DAYS:
            half_life = value
        elif name in [kind.value for kind in Kind] and abs(value) <= _MAX_WEIGHT:
            weights[Kind(name)] = value
        else:
            names = ", ".join(kind.value for kind in Kind)
            raise InputError(
                f"a weighting is KIND=WEIGHT, …: kinds are {names}, weights from -10 to 10; "
                f"{_HALF_LIFE} is above 0 and at most {_MAX_DAYS:.0f}",
                "compare_weights",
            )
    return replace(signals, weights=weights, half_life_days=half_life)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


async def compare_weightings(
    snapshot: Snapshot,
    recommenders: Recommenders,
    policy: TrainingPolicy,
    weightings: Mapping[str, SignalPolicy],
    model_type: str,
    seed: int,
    progress: ProgressCallback,
) -> Sequence[WeightingResult]:
    """CURRENT_WEIGHTS first, then the others: each chooses its own recipe, all are judged on the same held-out events.

    Raises NotEnoughDataError. Cancelling stops the computation soon.
    """
    judged: dict[str, Evaluation] = {}
    for number, (label, signals) in enumerate({CURRENT_WEIGHTS: policy.signals, **weightings}.items()):
        tracker = ProgressTracker()
        judging = ModelComparison(snapshot, recommenders, replace(policy, signals=signals), seed, tracker)
        work = asyncio.create_task(compute(partial(judging.decide, model_type, None), policy.threads))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=_POLL_SECONDS)
                progress(label, (number + tracker.position.fraction) / (1 + len(weightings)))
        except asyncio.CancelledError:
            tracker.stop(TrainingCancelledError("the comparison was told to stop"))
            raise
        judged[label] = work.result().candidate
    base, metric = judged[CURRENT_WEIGHTS], policy.gate.metric
    return [
        WeightingResult(
            label,
            one,
            probability_better(one.per_user[metric], base.per_user[metric], factor=1.0, seed=seed),
        )
        for label, one in judged.items()
    ]
