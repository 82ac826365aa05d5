"""Reasons: which entries of a history carry the score of each shown item."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from app.application.list_making import SCORE_DIGITS, History, histories_of
from app.application.lists import Reason
from app.application.serving import Serving
from app.domain.models import User
from app.domain.recommender import Recommender

MAX_REASONS = 3
"""Entries of the history named per item: the strongest ones."""


def explain(
    serving: Serving,
    recommender: Recommender | None,
    history: History,
    positions: NDArray[np.int32],
    now: datetime,
    profile: User | None = None,
) -> Sequence[tuple[Reason, ...]]:
    """Reasons for each position, strongest first; none where the answer did not come from a model. Blocking.

    A contribution is what the score would lose without that entry. The part that no entry carries (popularity,
    profile) is a reason of its own if it raises the score.
    """
    if recommender is None or not len(positions):
        return [()] * len(positions)
    batch = histories_of(serving, history, now, profile)
    parts = recommender.contributions(batch, positions)
    return [_reasons(serving, batch.items, parts[:, column], int(p)) for column, p in enumerate(positions.tolist())]


def _reasons(
    serving: Serving, items: NDArray[np.int32], parts: NDArray[np.float32], position: int
) -> tuple[Reason, ...]:
    view = serving.view
    entries = parts[:-1]
    strongest = np.argsort(-entries, kind="stable")[:MAX_REASONS]
    reasons = [
        Reason("because_you_watched", _rounded(entries[row]), view.ids.ids[items[row]], view.title(int(items[row])))
        for row in strongest.tolist()
        if entries[row] > 0
    ]
    if parts[-1] > 0:
        reasons.append(Reason("new" if position >= view.n_model else _base_kind(serving), _rounded(parts[-1])))
    return tuple(sorted(reasons, key=lambda reason: -reason.contribution))


def _base_kind(serving: Serving) -> str:
    """What stands behind the part without history: the profile, where the model learnt from profiles."""
    return "profile" if serving.user_feature_names else "popular"


def _rounded(part: np.float32) -> float:
    return round(float(part), SCORE_DIGITS)
