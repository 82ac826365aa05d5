"""When a served model is worse than it may be."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.experiment_statistics import always_valid_rate
from app.domain.guardrail_policy import GuardrailPolicy, ListCounts, breach

POLICY = GuardrailPolicy(min_lists=100)
GOOD = ListCounts(lists=1_000, answered=1_000, hits=200)


def test_a_model_that_does_what_the_one_before_did_is_left_alone() -> None:
    assert breach(GOOD, GOOD, POLICY) is None
    assert breach(GOOD, None, POLICY) is None
    assert breach(ListCounts(), GOOD, POLICY) is None


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (ListCounts(lists=1_000, empty=100), "10.0% of 1000 lists empty; at most 5.0% may"),
        (ListCounts(lists=900, errors=100), "10.0% of 1000 lists failed; at most 5.0% may"),
        (ListCounts(lists=1_000, answered=1_000, hits=30), "3.00% of 1000 lists were taken up"),
    ],
)
def test_a_broken_bound_is_said_in_words(now: ListCounts, said: str) -> None:
    assert said in str(breach(now, GOOD, POLICY))


def test_few_lists_prove_nothing() -> None:
    assert breach(ListCounts(lists=99, empty=99), None, POLICY) is None
    assert breach(ListCounts(lists=90, errors=9), None, POLICY) is None
    assert breach(ListCounts(lists=500, answered=99), GOOD, POLICY) is None
    assert breach(GOOD, ListCounts(lists=500, answered=99, hits=99), POLICY) is None


def test_what_was_so_before_is_not_this_models_fault() -> None:
    scarce = ListCounts(lists=1_000, empty=90)

    assert breach(scarce, ListCounts(lists=1_000, empty=80), POLICY) is None
    assert breach(scarce, GOOD, POLICY) is not None


def test_half_the_hits_may_be_chance_and_are_let_through() -> None:
    assert breach(ListCounts(lists=200, answered=200, hits=18), ListCounts(200, 0, 0, 200, 40), POLICY) is None


def test_bounds_hold_whenever_somebody_looks() -> None:
    assert always_valid_rate(0, 0, alpha=0.0027, planned=200) == (0.0, 1.0)
    low, high = always_valid_rate(10, 100, alpha=0.0027, planned=100)
    assert (round(low, 4), round(high, 4)) == (0.0, 0.2224)

    # A rate of exactly 5 %: watched after each list, the lower bound almost never lies above it.
    random = np.random.default_rng(11)
    alarms = sum(_ever_above(random.random(2_000) < 0.05, 0.05) for _ in range(200))
    assert alarms <= 2


def _ever_above(outcomes: NDArray[np.bool_], rate: float) -> bool:
    parts = np.cumsum(outcomes)
    return any(
        always_valid_rate(int(parts[n - 1]), n, alpha=0.0027, planned=200)[0] > rate for n in range(200, 2_001, 10)
    )
