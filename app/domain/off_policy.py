"""The value of a policy from the logs of another one: IPS, SNIPS and doubly robust, with intervals.

`rewards`, `logged`, `target`: (n,) reward, chance with which the logging policy showed what was shown, chance with
which the policy in question would show it. Dudík et al. 2014 (https://arxiv.org/abs/1503.02834), Swaminathan and
Joachims 2015 for SNIPS. Benchmark Q7 and `encore replay-evaluate` both end here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.exceptions import InputError, NotEnoughDataError

Values = NDArray[np.float64]
Rows = NDArray[np.int64]

MIN_EFFECTIVE_ROWS = 200.0
"""Below this the bootstrap itself is not to be trusted, however narrow it looks."""

MIN_SUPPORT = 0.5
"""Weights have the mean 1 where everything the policy wants could have been shown; below this most could not."""

PRIOR_SHOWS = 100.0
ANSWER_DAYS = 14.0
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


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


@dataclass(frozen=True, slots=True)
class LoggedPlaces:
    """Places of lists whose item was drawn, (n,) each: who looked (any int), the item shown, the one the candidate
    would have put there, the chance of the one shown, what it earned, and whether it was an exploration's.
    """

    user: Rows
    shown: Rows
    wanted: Rows
    propensity: Values
    reward: Values
    is_explored: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PlaceValue:
    """What a candidate would earn in the drawn place.

    `replay`: mean reward where the log shows what the candidate wanted (Li et al. 2011, https://arxiv.org/abs/1003.5956;
    without bias only for uniform logs). `logging_policy`: what the policy that logged earned where it did not explore.
    `support`: mean weight, near 1 if everything the candidate wants could have been shown.
    """

    estimates: OffPolicy
    replay: Estimate
    matched: int
    logging_policy: Estimate
    support: float


@dataclass(frozen=True, slots=True)
class ExplorationAdvice:
    """Exploring in `share` of the lists gives an answer in about `days` days."""

    share: float
    days: float


def place_value(places: LoggedPlaces, n_items: int, *, lists_per_day: float, pool: int, seed: int = 0) -> PlaceValue:
    """The candidate's value in the drawn place, given the rest of the page as it was shown.

    Raises NotEnoughDataError, with the exploration that would give an answer, where nothing was drawn, where too few
    rows speak, and where most of what the candidate wants can never have been shown.
    """
    advice = advice_text(lists_per_day, pool)
    if not len(places.propensity) or (places.propensity >= 1.0).all():
        raise NotEnoughDataError(
            f"no logged list has a propensity below 1: nothing can be said of another model. {advice}"
        )
    is_match = places.shown == places.wanted
    weights = is_match / places.propensity
    effective, support = effective_sample_size(weights), float(weights.mean())
    if effective < MIN_EFFECTIVE_ROWS:
        raise NotEnoughDataError(
            f"the effective sample is {effective:.0f} rows, and {MIN_EFFECTIVE_ROWS:.0f} are needed. {advice}"
        )
    if support < MIN_SUPPORT:
        raise NotEnoughDataError(
            f"most of what this model wants was never among what could be shown (support {support:.2f}). "
            "A larger ENCORE_EXPLORE_POOL would show more of it"
        )
    predicted_shown, predicted_wanted = _cross_fitted(places, n_items, seed)
    estimates = estimate(
        places.reward,
        places.propensity,
        is_match.astype(np.float64),
        predicted_shown=predicted_shown,
        predicted_target=predicted_wanted,
        groups=places.user,
        seed=seed,
    )
    own = ~places.is_explored
    return PlaceValue(
        estimates,
        mean_of(places.reward[is_match], places.user[is_match], seed=seed),
        int(is_match.sum()),
        mean_of(places.reward[own], places.user[own], seed=seed),
        support,
    )


def _cross_fitted(places: LoggedPlaces, n_items: int, seed: int) -> tuple[Values, Values]:
    """Rewards of what was shown and of what is wanted, by rates of the *other* half of the users.

    So the model of rewards owes nothing to the rows it corrects (Chernozhukov et al. 2018). Halves are drawn: numbers
    of users may go with what they were shown.
    """
    numbers = np.unique(places.user, return_inverse=True)[1]
    users = np.random.default_rng(seed).permutation(int(numbers.max()) + 1)[numbers]
    shown, wanted = np.empty(len(users)), np.empty(len(users))
    for half in (0, 1):
        here, there = users % 2 == half, users % 2 != half
        rates = shrunk_rates(places.shown[there], places.reward[there], n_items)
        shown[here], wanted[here] = rates[places.shown[here]], rates[places.wanted[here]]
    return shown, wanted


def shrunk_rates(items: Rows, rewards: Values, n_items: int) -> Values:
    """(n_items,) mean reward of each item, shrunk towards the mean of all by 100 shows."""
    shows = np.bincount(items, minlength=n_items)
    earned = np.bincount(items, weights=rewards, minlength=n_items)
    mean = float(rewards.mean()) if len(rewards) else 0.0
    return np.asarray((earned + PRIOR_SHOWS * mean) / (shows + PRIOR_SHOWS), dtype=np.float64)


def exploration_needed(lists_per_day: float, pool: int) -> ExplorationAdvice | None:
    """The smallest usual share with an answer within two weeks, or the largest; None without any lists.

    A candidate that always wants another item than the log shows meets share / pool of the lists, each at the same
    weight, so that many rows a day speak.
    """
    if lists_per_day <= 0:
        return None
    days = {share: MIN_EFFECTIVE_ROWS * pool / (lists_per_day * share) for share in _SHARES}
    share = next((share for share in _SHARES if days[share] <= ANSWER_DAYS), _SHARES[-1])
    return ExplorationAdvice(share, days[share])


def advice_text(lists_per_day: float, pool: int) -> str:
    """`exploration_needed` in a sentence."""
    advice = exploration_needed(lists_per_day, pool)
    if advice is None:
        return "No lists are logged in this time"
    return (
        f"With ENCORE_EXPLORE_SHARE={advice.share:g} (and ENCORE_EXPLORE_POOL={pool}) "
        f"there would be an answer in about {advice.days:.0f} days of this traffic ({lists_per_day:.0f} lists a day)"
    )


def estimate(
    rewards: Values,
    logged: Values | None,
    target: Values,
    *,
    predicted_shown: Values,
    predicted_target: Values,
    groups: Rows | None = None,
    seed: int = 0,
    resamples: int = 1_000,
) -> OffPolicy:
    """`predicted_shown`: a model's reward for what was shown; `predicted_target`: its mean under the target policy.

    `groups`: (n,) rows that are not independent (those of one user) share a number, and are drawn together.
    Raises InputError without propensities, or with some that are no chances: nothing can be said then.
    """
    if logged is None or not len(rewards):
        raise InputError("off-policy estimates need logged propensities", "propensity")
    if not np.isfinite(logged).all() or (logged <= 0).any() or (logged > 1).any():
        raise InputError("a propensity must be above 0 and at most 1", "propensity")
    weights = target / logged
    robust_terms = predicted_target + weights * (rewards - predicted_shown)
    sums = _group_sums(groups, np.ones(len(rewards)), weights, weights * rewards, robust_terms)
    draws = np.array([_values(total) for total in _resampled(sums, seed, resamples)])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    values = _values(sums.sum(axis=0))
    ips, snips, robust = (Estimate(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True))
    return OffPolicy(ips, snips, robust, len(rewards), effective_sample_size(weights))


def mean_of(rewards: Values, groups: Rows, *, seed: int = 0, resamples: int = 1_000) -> Estimate:
    """The mean with its interval, rows of one group drawn together; 0 of nothing."""
    if not len(rewards):
        return Estimate(0.0, 0.0, 0.0)
    sums = _group_sums(groups, np.ones(len(rewards)), rewards)
    draws = [float(total[1] / total[0]) for total in _resampled(sums, seed, resamples)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(rewards.mean()), float(low), float(high))


def effective_sample_size(weights: Values) -> float:
    """(Σw)² / Σw²; 0 where nothing weighs anything."""
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def _group_sums(groups: Rows | None, *columns: Values) -> Values:
    """(groups, columns) sums; without groups every row is its own."""
    if groups is None:
        return np.column_stack(columns)
    numbers = np.unique(groups, return_inverse=True)[1]
    return np.column_stack([np.bincount(numbers, weights=column) for column in columns])


def _resampled(sums: Values, seed: int, resamples: int) -> list[Values]:
    """Totals of as many groups as there are, drawn with replacement, `resamples` times (Efron 1979)."""
    rng = np.random.default_rng(seed)
    n = len(sums)
    return [np.asarray(sums[rng.integers(0, n, n)].sum(axis=0)) for _ in range(resamples)]


def _values(total: Values) -> tuple[float, float, float]:
    """IPS, SNIPS and DR of (rows, Σw, Σwr, Σ doubly robust terms)."""
    rows, mass, weighted, robust = (float(one) for one in total)
    return weighted / rows, weighted / mass if mass > 0 else 0.0, robust / rows
