"""Which arm is better: estimates clustered by user, with fixed-horizon and always-valid intervals.

Every metric is a ratio of two sums over users, `numerator` / `denominator` (hits per list, likes per list, …), as users
are what is assigned at random and lists of one user are not independent.

- Ratio and its variance: delta method (Deng, Knoblich, Lu 2018, https://arxiv.org/abs/1803.06336, eq. 4).
- Variance reduction: CUPED (Deng, Xu, Kohavi, Walker 2013, https://doi.org/10.1145/2433396.2433413), on the linearised
  metric.
- Always-valid: asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2024,
  https://arxiv.org/abs/2103.06476, theorem 2.2 and section B.2 for ρ): valid however often and whenever somebody looks.
- Sample ratio: χ² goodness of fit (Fabijan et al. 2019, https://doi.org/10.1145/3292500.3330722).
- Several arms against one control: Holm 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special  # scipy.stats has the same, and takes longer to load than all the rest of a command

Values = NDArray[np.float64]

SRM_ALPHA = 0.001
"""Below this the split itself is broken, and no readout can be trusted (Fabijan et al. use the same bound)."""

MIN_USERS = 50
"""Users an arm must have before it is compared: all of this rests on the central limit theorem."""


@dataclass(frozen=True, slots=True)
class UserSums:
    """One arm, a row per user: (n,) numerators, (n,) denominators, (n,) the user's figure before the experiment."""

    numerator: Values
    denominator: Values
    before: Values

    def __len__(self) -> int:
        return len(self.numerator)


@dataclass(frozen=True, slots=True)
class Interval:
    """[low, high] and the p-value of the hypothesis that the truth is 0."""

    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One arm against control: absolute difference of the ratio, and both kinds of interval at the same confidence.

    `variance_kept`: variance with CUPED over variance without; 1 where there was nothing to correct by.
    """

    control: float
    treatment: float
    difference: float
    standard_error: float
    fixed: Interval
    always: Interval
    variance_kept: float
    n_control: int
    n_treatment: int

    @property
    def relative(self) -> float | None:
        """Difference over the control's value; None where that is 0."""
        return self.difference / self.control if self.control else None


def compare(
    control: UserSums, treatment: UserSums, *, alpha: float = 0.05, planned_users: int = 10_000
) -> Comparison | None:
    """None while either arm has fewer than MIN_USERS users.

    `planned_users`: of both arms together, at which the always-valid interval shall be narrowest; any value is valid.
    """
    if min(len(control), len(treatment)) < MIN_USERS:
        return None
    ratios = [_ratio(arm) for arm in (control, treatment)]
    plain = [_linearised(arm, ratio) for arm, ratio in zip((control, treatment), ratios, strict=True)]
    theta, mean_before = _cuped(plain, [control.before, treatment.before])
    adjusted = [
        values - theta * (arm.before - mean_before) for values, arm in zip(plain, (control, treatment), strict=True)
    ]
    before = sum(values.var(ddof=1) / len(values) for values in plain)
    variance = sum(values.var(ddof=1) / len(values) for values in adjusted)
    difference = ratios[1] - ratios[0] + float(adjusted[1].mean() - adjusted[0].mean())
    error = sqrt(float(variance))
    users = len(control) + len(treatment)
    return Comparison(
        control=ratios[0],
        treatment=ratios[1],
        difference=difference,
        standard_error=error,
        fixed=_fixed(difference, error, alpha),
        always=_always(difference, error, users, alpha, planned_users),
        variance_kept=float(variance / before) if before > 0 else 1.0,
        n_control=len(control),
        n_treatment=len(treatment),
    )


def _ratio(arm: UserSums) -> float:
    total = float(arm.denominator.sum())
    return float(arm.numerator.sum()) / total if total else 0.0


def _linearised(arm: UserSums, ratio: float) -> Values:
    """(n,) what each user adds to the ratio around its value; mean 0. Its variance over n is the delta method's."""
    mean = float(arm.denominator.mean())
    return np.asarray(
        (arm.numerator - ratio * arm.denominator) / mean if mean else np.zeros(len(arm)), dtype=np.float64
    )


def _cuped(values: Sequence[Values], before: Sequence[Values]) -> tuple[float, float]:
    """θ, pooled over arms (the assignment cannot have changed what came before it), and the pooled mean of `before`."""
    pooled = np.concatenate(before)
    spread = float(pooled.var())
    if spread == 0:
        return 0.0, float(pooled.mean())
    # Centred within arms, so that an effect of the treatment does not pass for correlation.
    centred = np.concatenate([value - value.mean() for value in values])
    return float((centred * (pooled - pooled.mean())).mean()) / spread, float(pooled.mean())


def _fixed(difference: float, error: float, alpha: float) -> Interval:
    if error == 0:
        return Interval(difference, difference, 1.0 if difference == 0 else 0.0)
    half = float(-special.ndtri(alpha / 2)) * error
    return Interval(difference - half, difference + half, float(2 * special.ndtr(-abs(difference) / error)))


def _always(difference: float, error: float, users: int, alpha: float, planned_users: int) -> Interval:
    """Half-width `error` × √(2 (tρ² + 1) / (tρ²) × ln(√(tρ² + 1) / α)), t = users; the p-value solves it for α."""
    if error == 0:
        return Interval(difference, difference, 1.0 if difference == 0 else 0.0)
    scaled = users * _rho_squared(alpha, planned_users)
    half = error * sqrt(2 * (scaled + 1) / scaled * log(sqrt(scaled + 1) / alpha))
    exponent = -((difference / error) ** 2) * scaled / (2 * (scaled + 1))
    return Interval(difference - half, difference + half, min(1.0, sqrt(scaled + 1) * exp(exponent)))


def always_valid_rate(part: int, whole: int, *, alpha: float, planned: int) -> tuple[float, float]:
    """(low, high) of the rate behind `part` of `whole`, valid however often somebody looks; of none, 0 and 1.

    The same sequence for one sample. The variance is that of the rate after one more success and one more failure, so
    that a rate of 0 or 1 does not pass for certain.
    """
    if not whole:
        return 0.0, 1.0
    rate, careful = part / whole, (part + 1) / (whole + 2)
    interval = _always(rate, sqrt(careful * (1 - careful) / whole), whole, alpha, planned)
    return max(0.0, interval.low), min(1.0, interval.high)


def _rho_squared(alpha: float, planned_users: int) -> float:
    """The ρ² that makes the sequence narrowest at the planned number of users (section B.2 of the paper)."""
    return (-2 * log(alpha) + log(-2 * log(alpha) + 1)) / planned_users


def sample_ratio_p_value(users: Sequence[int], shares: Sequence[float]) -> float:
    """The chance of a split at least as uneven, if users were assigned as planned; 1 without users or with one arm."""
    total = sum(users)
    if not total or len(shares) == 1:
        return 1.0
    expected = np.asarray(shares, dtype=np.float64) / sum(shares) * total
    statistic = float(((np.asarray(users, dtype=np.float64) - expected) ** 2 / expected).sum())
    return float(special.chdtrc(len(shares) - 1, statistic))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """The p-values corrected for how many there are, in the same order."""
    corrected = [0.0] * len(p_values)
    reached = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = reached
    return tuple(corrected)


def users_needed(
    mean: float, standard_deviation: float, relative_effect: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Users per arm to find `relative_effect` × `mean` with this power at a fixed horizon, two-sided.

    n = 2 ((z₁₋α/₂ + z_power) σ / δ)² (van Belle 2008, chapter 2). Raises ValueError for an effect of nothing.
    """
    effect = abs(mean * relative_effect)
    if effect == 0:
        raise ValueError("there is no effect to find")
    quantiles = float(-special.ndtri(alpha / 2)) + float(special.ndtri(power))
    return int(np.ceil(2 * (quantiles * standard_deviation / effect) ** 2))
