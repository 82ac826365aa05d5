"""Whether people come back to what they have: the repeat rate on a validation cut of the training events (ADR 0031)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.application.evaluation.hold_out import liked_events
from app.domain.entities import EventColumns
from app.domain.exceptions import NotEnoughDataError
from app.domain.splits import time_split

_FEWEST_PAIRS = 50
"""With fewer of them nothing is concluded: seen items stay out of lists, as where nobody comes back."""

_OFTEN = 0.3
"""From this share on, lists without what was seen leave out the likeliest of what people take next."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """`rate`: the share of the cut's pairs of user and liked item that the user had before; of `pairs` in all."""

    rate: float
    pairs: int

    @property
    def may_return(self) -> bool:
        """Whether lists may hold what the person has seen."""
        return self.pairs >= _FEWEST_PAIRS and self.rate >= _OFTEN


def repeats_of(columns: EventColumns, fraction: float) -> Repeats:
    """What became of the newest `fraction` of these events. Users without events before the cut are not asked."""
    try:
        before, after = time_split(columns, fraction)
    except NotEnoughDataError:
        return Repeats(0.0, 0)
    liked = liked_events(after)
    known_users = np.isin(after.user, before.user)
    asked = liked & known_users
    later = np.unique(_pairs(after)[asked])
    if not len(later):
        return Repeats(0.0, 0)
    return Repeats(round(float(np.isin(later, _pairs(before)).mean()), 4), len(later))


def _pairs(columns: EventColumns) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(n,) one number for each pair of user and item; both parts of a split number them alike."""
    return columns.user.astype(np.int64) * max(len(columns.item_ids), 1) + columns.item
