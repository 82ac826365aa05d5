"""Arms are compared with the error rates that the formulas promise, also by somebody who looks every day."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from app.domain.experiment_statistics import (
    SRM_ALPHA,
    UserSums,
    compare,
    holm,
    sample_ratio_p_value,
    users_needed,
)

Values = NDArray[np.float64]


def arm(random: np.random.Generator, users: int, rate: float = 0.3, lift: float = 0.0) -> UserSums:
    """Users with 1 to 20 lists and a taste of their own; their activity before depends on the same taste."""
    lists = random.integers(1, 21, users).astype(np.float64)
    taste = random.beta(3, 3 * (1 - rate) / rate, users)
    before = random.binomial(10, taste).astype(np.float64)
    return UserSums(
        random.binomial(lists.astype(int), np.clip(taste * (1 + lift), 0, 1)).astype(np.float64), lists, before
    )


def first(sums: UserSums, users: int) -> UserSums:
    return UserSums(sums.numerator[:users], sums.denominator[:users], sums.before[:users])


def plain(sums: UserSums) -> UserSums:
    return UserSums(sums.numerator, sums.denominator, np.zeros(len(sums)))


def test_the_ratio_and_its_error_are_those_worked_out_by_hand() -> None:
    # 50 users with 1 hit of 2 lists and 50 with 0 of 2: ratio 0.25; linearised +-0.25, variance 0.0625 * 100 / 99.
    control = UserSums(np.repeat([1.0, 0.0], 50), np.full(100, 2.0), np.zeros(100))
    treatment = UserSums(np.repeat([2.0, 0.0], 50), np.full(100, 2.0), np.zeros(100))

    found = compare(control, treatment)

    assert found is not None
    assert (found.control, found.treatment, found.difference) == (0.25, 0.5, 0.25)
    assert found.relative == 1.0
    assert found.standard_error == pytest.approx(((0.0625 + 0.25) * 100 / 99 / 100) ** 0.5)
    assert found.fixed.low == pytest.approx(0.25 - stats.norm.ppf(0.975) * found.standard_error)


def test_users_with_many_lists_weigh_as_many_lists_in_the_error() -> None:
    # 50 users with 1 hit of 1 list and 50 with 1 of 3: ratio 0.5; linearised (1 - 0.5) / 2 and (1 - 1.5) / 2.
    arm = UserSums(np.ones(100), np.repeat([1.0, 3.0], 50), np.zeros(100))

    found = compare(arm, arm)

    assert found is not None
    assert (found.control, found.difference) == (0.5, 0.0)
    assert found.standard_error == pytest.approx((2 * 0.0625 / 99) ** 0.5)


def test_the_p_value_that_holds_at_any_time_is_the_one_worked_out_by_hand() -> None:
    # t rho^2 = -2 ln 0.05 + ln(-2 ln 0.05 + 1) = 7.93615 at the planned number of users.
    control = UserSums(np.repeat([1.0, 0.0], 50), np.full(100, 2.0), np.zeros(100))
    treatment = UserSums(np.repeat([2.0, 0.0], 50), np.full(100, 2.0), np.zeros(100))

    found = compare(control, treatment, planned_users=200)

    assert found is not None
    z_squared = 0.25**2 / ((0.0625 + 0.25) / 99)
    assert found.always.p_value == pytest.approx(8.93615**0.5 * np.exp(-z_squared * 7.93615 / (2 * 8.93615)), rel=1e-4)


def test_nothing_is_said_about_a_handful_of_users() -> None:
    few = UserSums(np.ones(49), np.ones(49), np.zeros(49))

    assert compare(few, UserSums(np.ones(500), np.ones(500), np.zeros(500))) is None


def test_of_a_thousand_experiments_without_effect_one_in_twenty_looks_significant_at_the_end() -> None:
    random = np.random.default_rng(1)
    found = [compare(arm(random, 1_000), arm(random, 1_000)) for _ in range(1_000)]

    assert 0.03 < np.mean([one is not None and one.fixed.p_value < 0.05 for one in found]) < 0.07


def test_somebody_who_looks_a_hundred_times_is_fooled_by_fixed_intervals_and_not_by_always_valid_ones() -> None:
    random = np.random.default_rng(2)
    looks = range(60, 1_050, 10)
    fooled = {"fixed": 0, "always": 0}
    for _ in range(300):
        control, treatment = plain(arm(random, 1_050)), plain(arm(random, 1_050))
        found = [compare(first(control, users), first(treatment, users), planned_users=2_000) for users in looks]
        fooled["fixed"] += any(one is not None and one.fixed.p_value < 0.05 for one in found)
        fooled["always"] += any(one is not None and one.always.p_value < 0.05 for one in found)

    assert fooled["always"] / 300 <= 0.05
    assert fooled["fixed"] / 300 > 0.15


def test_a_planted_lift_is_found_as_often_as_planned() -> None:
    random = np.random.default_rng(3)
    sample = arm(random, 200_000)
    ratio = sample.numerator.sum() / sample.denominator.sum()
    spread = float(((sample.numerator - ratio * sample.denominator) / sample.denominator.mean()).std())
    needed = users_needed(float(ratio), spread, 0.1, power=0.8)

    found = [compare(plain(arm(random, needed)), plain(arm(random, needed, lift=0.1))) for _ in range(400)]

    assert np.mean([one is not None and one.fixed.p_value < 0.05 for one in found]) == pytest.approx(0.8, abs=0.06)


def test_an_always_valid_interval_covers_the_truth_and_excludes_0_when_its_p_value_says_so() -> None:
    random = np.random.default_rng(4)
    for lift in (0.0, 0.2, 0.5):
        found = compare(arm(random, 5_000), arm(random, 5_000, lift=lift))
        assert found is not None
        assert (found.always.p_value < 0.05) == (found.always.low > 0 or found.always.high < 0)
        assert found.always.low < found.fixed.low < found.fixed.high < found.always.high


def test_cuped_cuts_the_variance_by_the_squared_correlation_and_does_not_move_the_effect() -> None:
    random = np.random.default_rng(5)
    before = random.normal(10, 3, 20_000)
    outcome = before * 0.8 + random.normal(0, 1.8, 20_000)
    correlation = np.corrcoef(before, outcome)[0, 1]
    ones = np.ones(10_000)

    found = compare(
        UserSums(outcome[:10_000], ones, before[:10_000]), UserSums(outcome[10_000:] + 0.5, ones, before[10_000:])
    )

    assert found is not None
    assert found.variance_kept == pytest.approx(1 - correlation**2, abs=0.02)
    assert found.fixed.low < 0.5 < found.fixed.high


def test_figures_before_that_say_nothing_change_nothing() -> None:
    random = np.random.default_rng(6)
    control, treatment = plain(arm(random, 1_000)), plain(arm(random, 1_000))

    found = compare(control, treatment)

    assert found is not None
    assert found.variance_kept == 1.0
    assert found.difference == pytest.approx(found.treatment - found.control)


def test_a_broken_split_raises_the_alarm_and_an_honest_one_hardly_ever() -> None:
    random = np.random.default_rng(7)
    honest = [sample_ratio_p_value(random.multinomial(2_000, [0.5, 0.5]).tolist(), [0.5, 0.5]) for _ in range(5_000)]

    assert np.mean(np.array(honest) < SRM_ALPHA) <= 0.002
    assert sample_ratio_p_value([1_000, 850], [0.5, 0.5]) < SRM_ALPHA
    assert sample_ratio_p_value([0, 0], [0.5, 0.5]) == 1.0


def test_several_arms_are_corrected_by_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.5, 0.9]) == (1.0, 1.0)
    assert holm([]) == ()
