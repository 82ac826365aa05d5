"""Ratings on other scales than Encore's 0.5–5."""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.application.transfer.row_values import RATING_RANGE, RowError
from app.domain.exceptions import InputError


@dataclass(frozen=True, slots=True)
class Scale:
    """The lowest and the highest rating of a file; they become 0.5 and 5, what is between lies in proportion."""

    low: float
    high: float

    def rating(self, value: float) -> float:
        """A rating of 0.5–5. Raises RowError for one that is not on the scale."""
        if not self.low <= value <= self.high:
            raise RowError("the rating is outside of --scale")
        lowest, highest = RATING_RANGE
        return round(lowest + (value - self.low) / (self.high - self.low) * (highest - lowest), 6)


def scale_of(text: str) -> Scale:
    """`1..10` as a scale. Raises InputError for anything else."""
    low, _, high = text.partition("..")
    try:
        scale = Scale(float(low), float(high))
    except ValueError as exc:
        raise InputError("--scale takes the lowest and the highest rating, such as 1..10") from exc
    if not (math.isfinite(scale.low) and math.isfinite(scale.high) and scale.low < scale.high):
        raise InputError("--scale takes the lowest and the highest rating, such as 1..10")
    return scale
