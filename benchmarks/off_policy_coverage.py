"""Does the doubly robust interval cover the truth? Simulated logs, drawn by the code that explores.

    python -m benchmarks.off_policy_coverage [RUNS]

Users with tastes for twelve items; the policy that logs fills the place with what most people like, explores in a share
of the lists, and logs the chance; the candidate fills it by each user's taste as far as it knows it.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from app.domain.exploration import Exploration, draw
from app.domain.off_policy import LoggedPlaces, place_value

N_ITEMS, N_USERS, N_LISTS = 12, 300, 4_000


def simulated_log(seed: int, share: float) -> tuple[LoggedPlaces, float]:
    """(a log, what the candidate truly earns on these users)."""
    rng = np.random.default_rng(seed)
    tastes = rng.beta(1.0, 4.0, (N_USERS, N_ITEMS))
    guessed = tastes + rng.normal(0.0, 0.15, tastes.shape)
    usual, best = int(tastes.mean(axis=0).argmax()), guessed.argmax(axis=1)
    user = rng.integers(0, N_USERS, N_LISTS)
    pool = [item for item in range(N_ITEMS) if item != usual]
    exploration = Exploration(share=share, position=1, pool=len(pool))
    draws = [draw(exploration, len(pool), f"{seed}-{number}") for number in range(N_LISTS)]
    shown = np.array([usual if one.row is None else pool[one.row] for one in draws])
    places = LoggedPlaces(
        user=user,
        shown=shown,
        wanted=best[user],
        propensity=np.array([one.propensity for one in draws]),
        reward=(rng.random(N_LISTS) < tastes[user, shown]).astype(np.float64),
        is_explored=np.array([one.row is not None for one in draws]),
    )
    truth: NDArray[np.float64] = tastes[np.arange(N_USERS), best]
    return places, float(truth.mean())


def coverage(runs: int, share: float = 0.9) -> tuple[int, float, float]:
    """(runs whose doubly robust interval covers the truth, mean estimate, mean truth)."""
    covered, values, truths = 0, [], []
    for seed in range(runs):
        places, truth = simulated_log(seed, share)
        found = place_value(places, N_ITEMS, lists_per_day=N_LISTS, pool=N_ITEMS - 1, seed=seed)
        robust = found.estimates.doubly_robust
        covered += robust.low <= truth <= robust.high
        values.append(robust.value)
        truths.append(truth)
    return covered, float(np.mean(values)), float(np.mean(truths))


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    inside, value, truth = coverage(n)
    print(f"{inside} of {n} intervals cover the truth; mean estimate {value:.4f}, mean truth {truth:.4f}")
