"""Reasons: which entries of a history carry the score of each shown item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from app.application.ranking.list_ranking import SCORE_DIGITS, History, single_history
from app.application.ranking.serving_state import PRIORS, ServingState
from app.domain.dataset import Histories
from app.domain.entities import User
from app.domain.list_query import Reason
from app.domain.recommender import Blended, Recommender

_POPULAR = PRIORS["popularity"]

TYPICAL = 200
"""Items whose mean stands for the typical one."""

MAX_REASONS = 3
"""Entries of the history named per item: the strongest ones."""


def explain(
    serving: ServingState,
    recommender: Recommender | None,
    history: History,
    positions: NDArray[np.int32],
    now: datetime,
    profile: User | None = None,
) -> Sequence[tuple[Reason, ...]]:
    """Reasons for each position, strongest first; none where the answer did not come from a model. Blocking.

    A contribution is by how much more the score would fall without that entry, or without popularity or profile, than
    that of a typical item: what all items get from this person alike explains none of them. It stands as a reason of
    its own, `typical`, last. What entries carry only together, and what the weaker ones carry, is one reason of kind
    `history`: reasons sum to the score.
    """
    if recommender is None or not len(positions):
        return [()] * len(positions)
    batch = single_history(serving, history, now, profile)
    asked = np.concatenate([positions, typical_items(recommender.n_items)])
    parts = recommender.contributions(batch, asked).astype(np.float64)
    typical = parts[:, len(positions) :].mean(axis=1)
    priors = {kind: _above(part, len(positions)) for kind, part in priors_of(recommender, batch, asked).items()}
    return [
        _reasons(
            serving,
            batch.items,
            parts[:, column] - typical,
            {kind: float(part[column]) for kind, part in priors.items()},
            float(typical.sum()),
        )
        for column in range(len(positions))
    ]


def typical_items(n_items: int) -> NDArray[np.int32]:
    """Positions of up to TYPICAL items, evenly spread: their mean is what a typical item gets."""
    return np.unique(np.linspace(0, n_items - 1, min(n_items, TYPICAL)).astype(np.int32))


def _above(part: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """The first n, against the mean of the others."""
    return np.asarray(part[:n] - part[n:].mean())


def priors_of(
    recommender: Recommender, batch: Histories, positions: NDArray[np.int32]
) -> Mapping[str, NDArray[np.float64]]:
    """Kind of reason → (len(positions),) what those members give that do not look at the history.

    A profile prior gives everybody the popularity of an item, and then what people like this one make of it: only the
    difference to somebody without a profile is a reason of kind `profile`.
    """
    told = _shares(recommender, batch, positions)
    kinds = {PRIORS[name] for name in told}
    untold = told
    if batch.profiles is not None and kinds - {_POPULAR}:
        untold = _shares(recommender, replace(batch, profiles=None), positions)
    priors: dict[str, NDArray[np.float64]] = {}
    for name, share in told.items():
        for kind, part in ((_POPULAR, untold[name]), (PRIORS[name], share - untold[name])):
            priors[kind] = priors.get(kind, np.zeros(len(positions))) + part
    return priors


def _shares(
    recommender: Recommender, batch: Histories, positions: NDArray[np.int32]
) -> Mapping[str, NDArray[np.float64]]:
    """Member → (len(positions),) its part of the score, of the members that do not look at the history."""
    if isinstance(recommender, Blended):
        shares = recommender.shares(batch, positions)
    else:
        shares = {recommender.name: recommender.score(batch, positions)}
    return {name: share[0].astype(np.float64) for name, share in shares.items() if name in PRIORS}


def _reasons(
    serving: ServingState,
    items: NDArray[np.int32],
    parts: NDArray[np.float64],
    priors: Mapping[str, float],
    typical: float,
) -> tuple[Reason, ...]:
    """Items first, then the others by what they contribute, `typical` last."""
    view, entries = serving.view, parts[:-1]
    named = [row for row in np.argsort(-entries, kind="stable")[:MAX_REASONS].tolist() if entries[row] > 0]
    reasons = [
        Reason("because_you_watched", _rounded(entries[row]), view.ids.ids[items[row]], view.title(int(items[row])))
        for row in named
    ]
    others = [Reason(kind, _rounded(part)) for kind, part in priors.items()]
    rest = parts.sum() - sum(entries[row] for row in named) - sum(priors.values())
    others.append(Reason("history", _rounded(rest)))
    reasons += sorted(others, key=lambda reason: -reason.contribution)
    reasons.append(Reason("typical", _rounded(typical)))
    return tuple(reason for reason in reasons if reason.contribution)


def _rounded(part: float) -> float:
    return round(float(part), SCORE_DIGITS)
