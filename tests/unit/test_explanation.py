"""Reasons name what carries a score: popularity is not sold as what a profile says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from app.application.ranking.explanation import explain, priors_of
from app.application.ranking.serving_state import ServingState
from app.domain.catalog_view import CatalogView
from app.domain.dataset import IdMap
from app.domain.list_query import ModelRef, Reason
from app.domain.recommender import Recommender
from app.models import RECOMMENDERS
from tests.unit.models.data import checkerboard, history, silent

ITEMS = np.arange(16, dtype=np.int32)
NOW = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.mark.parametrize("weights", [{"profile": [1.0]}, {"profile": [1.0], "popularity": [0.5], "rp3": [0.3]}])
def test_only_what_a_profile_adds_to_popularity_is_a_reason_of_its_own(weights: dict[str, list[float]]) -> None:
    blend = RECOMMENDERS.build("hybrid", {"members": {name: {} for name in weights}, "weights": weights, "knots": [0]})
    blend.fit(checkerboard(), seed=0, progress=silent)
    nobody, even = history([]), history([], profile=0)

    told, untold = priors_of(blend, even, ITEMS), priors_of(blend, nobody, ITEMS)

    np.testing.assert_allclose(told["popular"], untold["popular"], atol=1e-6)
    assert not untold.get("profile", np.zeros(1)).any()
    assert (told["profile"][::2] > 0).all()
    assert (told["profile"][1::2] < 0).all()
    np.testing.assert_allclose(told["popular"] + told["profile"], blend.score(even, ITEMS)[0], atol=1e-5)


def served(blend: Recommender) -> ServingState:
    ids = IdMap(f"v{number:02}" for number in range(blend.n_items))
    return ServingState(CatalogView.of_model(ids), ModelRef("m", "hybrid", 1), blend)


def explained(blend: Recommender, entries: Sequence[int]) -> Sequence[tuple[Reason, ...]]:
    """Reasons of all items for somebody who likes these."""
    told = tuple((f"v{item:02}", 1.0, NOW.timestamp() - age) for age, item in enumerate(entries))
    return explain(served(blend), blend, told, ITEMS, NOW)


@pytest.fixture(scope="module")
def blend() -> Recommender:
    weights = {"rp3": [1.0], "content": [0.5], "popularity": [2.0]}
    found = RECOMMENDERS.build("hybrid", {"members": {name: {} for name in weights}, "weights": weights, "knots": [0]})
    found.fit(checkerboard(), seed=0, progress=silent)
    return found


def test_reasons_add_up_with_items_first_and_what_all_items_get_last_and_alike(blend: Recommender) -> None:
    scores = blend.score(history([2, 4, 7]), ITEMS)[0]
    found = explained(blend, [2, 4, 7])
    for reasons, score in zip(found, scores.tolist(), strict=True):
        assert sum(reason.contribution for reason in reasons) == pytest.approx(score, abs=1e-4)
        kinds = [reason.kind for reason in reasons]
        assert kinds == sorted(kinds, key=lambda kind: (kind != "because_you_watched", kind == "typical"))
    assert {reasons[-1].kind for reasons in found} == {"typical"}
    assert len({reasons[-1].contribution for reasons in found}) == 1
    assert found[0][-1].contribution == pytest.approx(scores.mean(), abs=1e-4)


def test_what_an_item_is_said_to_carry_is_what_is_lost_without_it_beyond_what_all_items_lose(
    blend: Recommender,
) -> None:
    whole = blend.score(history([2, 4, 7]), ITEMS)[0]
    without = {f"v{item:02}": whole - blend.score(history(rest), ITEMS)[0]
               for item, rest in ((2, [4, 7]), (4, [2, 7]), (7, [2, 4]))}  # fmt: skip
    named = 0
    for column, reasons in enumerate(explained(blend, [2, 4, 7])):
        for reason in reasons:
            if reason.item_id is not None:
                lost = without[reason.item_id]
                assert reason.contribution == pytest.approx(lost[column] - lost.mean(), abs=1e-4)
                named += 1
    assert named > 8
