"""Reasons name what carries a score: popularity is not sold as what a profile says."""

from __future__ import annotations

import numpy as np
import pytest

from app.application.ranking.explanation import priors_of
from app.models import RECOMMENDERS
from tests.unit.models.data import checkerboard, history, silent

ITEMS = np.arange(16, dtype=np.int32)


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
