"""The constant that makes scores of different recommenders comparable."""

from __future__ import annotations

import numpy as np

from app.domain.dataset import Histories
from app.domain.recommender import Recommender

_USERS = 256
_CELLS = 4_000_000


def score_scale(recommender: Recommender, histories: Histories) -> float:
    """The standard deviation of its scores over the items, averaged over a sample of histories; never 0.

    Histories are taken at even distances, so that the same data give the same constant.
    """
    n_users = min(_USERS, len(histories), max(1, _CELLS // max(recommender.n_items, 1)))
    if not n_users:
        return 1.0
    sample = np.linspace(0, len(histories) - 1, n_users).astype(int)
    spreads = [float(recommender.score(histories.rows(row, row + 1)).std()) for row in sample]
    scale = float(np.float32(np.mean(spreads)))
    return scale if np.isfinite(scale) and scale > 0 else 1.0
