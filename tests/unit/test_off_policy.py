"""Off-policy estimates."""

from __future__ import annotations

import numpy as np
import pytest

from app.domain.exceptions import InputError
from app.domain.off_policy import effective_sample_size, estimate


def logs(n: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two actions shown evenly, clicked 10 % and 30 %; the policy in question shows the second four times in five."""
    rng = np.random.default_rng(1)
    action = rng.integers(0, 2, n)
    reward = (rng.random(n) < np.array([0.1, 0.3])[action]).astype(np.float64)
    return action, reward, np.array([0.2, 0.8])[action]


def test_every_estimate_finds_the_value_of_another_policy() -> None:
    action, reward, target = logs()
    truth = 0.2 * 0.1 + 0.8 * 0.3
    model = np.array([0.12, 0.28])
    found = estimate(
        reward,
        np.full(len(reward), 0.5),
        target,
        predicted_shown=model[action],
        predicted_target=np.full(len(reward), 0.2 * 0.12 + 0.8 * 0.28),
    )
    for one in (found.ips, found.snips, found.doubly_robust):
        assert one.low < truth < one.high
        assert one.low < one.value < one.high
    spread = found.doubly_robust.high - found.doubly_robust.low
    assert spread < found.ips.high - found.ips.low
    assert found.rows == 20_000
    assert found.effective_sample_size == pytest.approx(20_000 / (0.5 * (0.4**2 + 1.6**2)), rel=0.02)


def test_the_effective_sample_size_is_the_number_of_rows_that_speak() -> None:
    assert effective_sample_size(np.array([1.0, 1.0, 1.0])) == pytest.approx(3.0)
    assert effective_sample_size(np.array([5.0, 0.0, 0.0])) == pytest.approx(1.0)
    assert effective_sample_size(np.zeros(3)) == 0.0


@pytest.mark.parametrize("propensity", [None, np.array([0.5, 0.0]), np.array([0.5, np.nan]), np.array([0.5, 1.5])])
def test_without_propensities_nothing_is_said(propensity: np.ndarray | None) -> None:
    nothing = np.zeros(2)
    with pytest.raises(InputError):
        estimate(nothing, propensity, nothing, predicted_shown=nothing, predicted_target=nothing)
