"""May a candidate replace the champion?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.domain.gate import GatePolicy, decide_promotion

N_USERS = 200
METRIC = "ndcg@10"


@dataclass(frozen=True)
class Values:
    """An evaluation as the gate sees it."""

    per_user: Mapping[str, NDArray[np.float32]]
    users: tuple[str, ...] = tuple(f"u{n}" for n in range(N_USERS))
    slices: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    coverage: float = 0.3
    attainable_coverage: float = 1.0
    problems: tuple[str, ...] = ()


def scoring(mean: float, spread: float = 0.05, **others: object) -> Values:
    noise = np.random.default_rng(5).normal(0.0, spread, N_USERS)
    values = np.clip(mean + noise - noise.mean(), 0.0, 1.0).astype(np.float32)
    return Values({METRIC: values}, **others)  # type: ignore[arg-type] # the fields above


POPULARITY = scoring(0.10)


def test_the_first_model_must_beat_popularity() -> None:
    assert decide_promotion(scoring(0.12), None, POPULARITY, GatePolicy()).promote
    refused = decide_promotion(scoring(0.09), None, POPULARITY, GatePolicy())
    assert not refused.promote
    assert "popularity" in refused.reasons[0]


def test_being_as_good_as_popularity_is_not_enough() -> None:
    assert not decide_promotion(POPULARITY, None, POPULARITY, GatePolicy()).promote


def test_beating_popularity_by_luck_is_not_enough() -> None:
    lucky = POPULARITY.per_user[METRIC].copy()
    lucky[0] += 0.3
    lucky[1:11] -= 0.02
    assert not decide_promotion(Values({METRIC: lucky}), None, POPULARITY, GatePolicy()).promote
    assert decide_promotion(Values({METRIC: lucky}), None, POPULARITY, GatePolicy(popularity_confidence=0.5)).promote


def test_finding_nothing_is_not_better_than_finding_nothing() -> None:
    nothing = Values({METRIC: np.zeros(N_USERS, dtype=np.float32)})
    assert not decide_promotion(nothing, None, nothing, GatePolicy()).promote
    assert not decide_promotion(nothing, nothing, nothing, GatePolicy()).promote


def test_a_champion_is_replaced_from_one_percent_better_on() -> None:
    champion = scoring(0.2000)
    assert not decide_promotion(scoring(0.2010), champion, POPULARITY, GatePolicy()).promote
    assert decide_promotion(scoring(0.2030), champion, POPULARITY, GatePolicy()).promote


def test_a_gain_that_a_resampling_of_users_may_undo_is_not_enough_when_certainty_is_asked_for() -> None:
    champion = scoring(0.2)
    lucky = champion.per_user[METRIC].copy()
    lucky[0] = 1.0
    candidate = Values({METRIC: lucky})
    assert decide_promotion(candidate, champion, POPULARITY, GatePolicy(margin=0.01)).promote
    assert not decide_promotion(candidate, champion, POPULARITY, GatePolicy(margin=0.01, confidence=0.95)).promote


def test_a_negative_margin_lets_an_equal_model_pass() -> None:
    assert decide_promotion(scoring(0.1990), scoring(0.2), POPULARITY, GatePolicy(margin=-0.01)).promote


def test_no_slice_of_enough_users_may_lose_more_than_its_margin() -> None:
    members = np.arange(N_USERS) < 60
    champion = scoring(0.2, slices={"new users": members})
    values = champion.per_user[METRIC] * np.where(members, 0.7, 1.4).astype(np.float32)
    candidate = Values({METRIC: values}, slices={"new users": members})
    refused = decide_promotion(candidate, champion, POPULARITY, GatePolicy())
    assert not refused.promote
    assert "new users" in refused.reasons[0]
    assert decide_promotion(candidate, champion, POPULARITY, GatePolicy(min_slice_users=61)).promote


def test_lists_from_a_sliver_of_the_catalog_are_refused() -> None:
    champion = scoring(0.2, coverage=0.3)
    refused = decide_promotion(scoring(0.25, coverage=0.1), champion, POPULARITY, GatePolicy())
    assert not refused.promote
    assert "catalog" in refused.reasons[0]
    assert not decide_promotion(scoring(0.25, coverage=0.005), None, POPULARITY, GatePolicy()).promote
    few_lists = scoring(0.25, coverage=0.005, attainable_coverage=0.02)
    assert decide_promotion(few_lists, None, POPULARITY, GatePolicy()).promote


def test_what_the_canaries_found_is_refused_and_said() -> None:
    refused = decide_promotion(
        scoring(0.5, problems=("its scores are not all finite numbers",)), None, POPULARITY, GatePolicy()
    )
    assert refused.reasons == ("its scores are not all finite numbers",)


def test_models_judged_on_different_users_are_not_compared() -> None:
    others = scoring(0.2, users=tuple(f"x{n}" for n in range(N_USERS)))
    refused = decide_promotion(scoring(0.3), others, POPULARITY, GatePolicy())
    assert not refused.promote
    assert any("different users" in reason for reason in refused.reasons)


def test_the_same_evaluations_give_the_same_verdict() -> None:
    first, second = (decide_promotion(scoring(0.203), scoring(0.2), POPULARITY, GatePolicy()) for _ in range(2))
    assert first == second
