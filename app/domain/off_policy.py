"""The value of a policy from the logs of another one: IPS, SNIPS and doubly robust, with intervals.

`rewards`, `logged`, `target`: (n,) reward, chance with which the logging policy showed what was shown, chance with
which the policy in question would show it. Dudík et al. 2014 (https://arxiv.org/abs/1503.02834), Swaminathan and
Joachims 2015 for SNIPS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.exceptions import InputError

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """The three estimates. `effective_sample_size` = (Σw)² / Σw² (Kong 1992): how many rows really speak."""

    ips: Estimate
    snips: Estimate
    doubly_robust: Estimate
    rows: int
    effective_sample_size: float


def estimate(
    rewards: Values,
    logged: Values | None,
    target: Values,
    *,
    predicted_shown: Values,
    predicted_target: Values,
    seed: int = 0,
    resamples: int = 1_000,
) -> OffPolicy:
    """`predicted_shown`: a model's reward for what was shown; `predicted_target`: its mean under the target policy.

    Raises InputError without propensities, or with some that are no chances: nothing can be said then.
    """
    if logged is None or not len(rewards):
        raise InputError("off-policy estimates need logged propensities", "propensity")
    if not np.isfinite(logged).all() or (logged <= 0).any() or (logged > 1).any():
        raise InputError("a propensity must be above 0 and at most 1", "propensity")
    weights = target / logged
    gain = weights * (rewards - predicted_shown)
    rng = np.random.default_rng(seed)
    n = len(rewards)
    draws = np.empty((resamples, 3))
    for row in range(resamples):
        taken = rng.integers(0, n, n)
        draws[row] = _values(rewards[taken], weights[taken], gain[taken], predicted_target[taken])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    values = _values(rewards, weights, gain, predicted_target)
    ips, snips, robust = (Estimate(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True))
    return OffPolicy(ips, snips, robust, n, effective_sample_size(weights))


def effective_sample_size(weights: Values) -> float:
    """(Σw)² / Σw²; 0 where nothing weighs anything."""
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def _values(rewards: Values, weights: Values, gain: Values, predicted_target: Values) -> tuple[float, float, float]:
    mass = float(weights.sum())
    weighted = float(weights @ rewards)
    return weighted / len(rewards), weighted / mass if mass > 0 else 0.0, float((predicted_target + gain).mean())
