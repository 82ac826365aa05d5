"""Weights of signals beside each other: what people look at by accident, and what they like."""

from __future__ import annotations

import numpy as np
import pytest

from app.application.training.comparison import Snapshot, TrainingPolicy
from app.application.training.weightings import CURRENT_WEIGHTS, compare_weightings, parse_weighting
from app.domain.entities import KINDS, EventColumns, Kind
from app.domain.exceptions import InputError, NotEnoughDataError
from app.domain.signals import SignalPolicy
from app.models import RECOMMENDERS
from tests.unit.models.data import silent

N_USERS, N_ITEMS, LIKES, VIEWS = 120, 80, 10, 30
LOUD = SignalPolicy(weights={**SignalPolicy().weights, Kind.VIEW: 3.0})
POLICY = TrainingPolicy(signals=LOUD, budget_seconds=2.0, test_fraction=0.2)


def curious(n_users: int = N_USERS) -> Snapshot:
    """Everybody likes items of one of four groups and views items of any; likes come in the order of the views."""
    rng = np.random.default_rng(0)
    rows: list[tuple[int, int, int, float]] = []
    for person in range(n_users):
        own = np.arange(person % 4, N_ITEMS, 4)
        viewed, liked = rng.permutation(N_ITEMS)[:VIEWS], rng.permutation(own)[:LIKES]
        moments = np.sort(rng.random(VIEWS + LIKES)) * 86_400.0 + 1.7e9
        kinds = rng.permutation([*[Kind.LIKE] * LIKES, *[Kind.VIEW] * VIEWS])
        left = {Kind.LIKE: iter(liked), Kind.VIEW: iter(viewed)}
        rows += [
            (person, next(left[Kind(kind)]), KINDS.index(Kind(kind)), at)
            for kind, at in zip(kinds, moments, strict=True)
        ]
    user, item, kind, at = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    nothing = np.full(len(rows), np.nan, dtype=np.float32)
    columns = EventColumns(
        tuple(f"u{number:03}" for number in range(n_users)),
        tuple(f"i{number:03}" for number in range(N_ITEMS)),
        user.astype(np.int32),
        item.astype(np.int32),
        kind.astype(np.int8),
        nothing,
        nothing,
        at,
    )
    return Snapshot(columns, (), ())


async def test_weights_that_follow_taste_stand_above_those_that_follow_accidents() -> None:
    asked = {text: parse_weighting(text, LOUD) for text in ("view=0.01", "half_life_days=3650")}
    told: list[tuple[str, float]] = []

    compared = await compare_weightings(
        curious(), RECOMMENDERS, POLICY, asked, "ials", 0, lambda label, done: told.append((label, done))
    )

    by_label = {one.label: one for one in compared}
    assert list(by_label) == [CURRENT_WEIGHTS, "view=0.01", "half_life_days=3650"]
    assert len({one.evaluation.users for one in compared}) == 1
    assert by_label["view=0.01"].evaluation.mean("ndcg@10") > 1.1 * by_label[CURRENT_WEIGHTS].evaluation.mean("ndcg@10")
    assert by_label["view=0.01"].probability > 0.9
    # The half-life it has already: the same model, as good in each resample.
    assert by_label["half_life_days=3650"].probability == 1.0
    assert {label for label, _ in told} <= set(by_label)
    assert [done for _, done in told] == sorted(done for _, done in told)


async def test_nothing_to_compare_on_is_said() -> None:
    with pytest.raises(NotEnoughDataError):
        await compare_weightings(curious(0), RECOMMENDERS, POLICY, {}, "ials", 0, silent)


def test_what_is_named_is_changed_and_the_rest_stays() -> None:
    found = parse_weighting("watch=2, dislike=-3,half_life_days=30", LOUD)

    assert found.weights == {**LOUD.weights, Kind.WATCH: 2.0, Kind.DISLIKE: -3.0}
    assert (found.half_life_days, found.cap) == (30.0, LOUD.cap)


@pytest.mark.parametrize(
    "text", ["", "watch", "watch=", "watch=x", "watch=nan", "watch=11", "wach=1", "half_life_days=0", "watch=1;view=2"]
)
def test_a_weighting_that_is_none_says_what_one_is(text: str) -> None:
    with pytest.raises(InputError, match="KIND=WEIGHT"):
        parse_weighting(text, LOUD)
