"""Key figures of the last days, from the stored interactions alone."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from app.domain.entities import KINDS, EventColumns, Kind

_WATCH, _RATING = KINDS.index(Kind.WATCH), KINDS.index(Kind.RATING)
_DAY = timedelta(days=1)
_FINISHED = 0.9
"""Credits roll before the end: who has seen nine tenths has seen it (a common rule of streaming statistics)."""


def kpis_of(columns: EventColumns, catalog: Collection[str], now: datetime, days: int) -> dict[str, float | None]:
    """Figures of the `days` before `now`; `columns` holds their interactions, `catalogue` the ids of all items.

    A mean of nothing is None. `…_last_day` counts the last 24 hours. Coverage is the share of the catalog that
    anybody touched; watch-through the mean share of a watch that was seen, finished the share of watches seen to 90 %.
    """
    last_day = columns.occurred_at >= (now - _DAY).timestamp()
    used = {columns.item_ids[position] for position in np.unique(columns.item).tolist()}
    ratios, ratings = _watch_ratios(columns), columns.value[columns.kind == _RATING]
    return {
        "days": float(days),
        "interactions": float(len(columns.user)),
        "interactions_per_day": len(columns.user) / days,
        "interactions_last_day": float(last_day.sum()),
        "active_users": float(len(np.unique(columns.user))),
        "active_users_last_day": float(len(np.unique(columns.user[last_day]))),
        "catalogue_items": float(len(catalog)),
        "catalogue_coverage": len(used.intersection(catalog)) / len(catalog) if catalog else None,
        "watches": float((columns.kind == _WATCH).sum()),
        "watch_through": _mean(ratios),
        "watches_finished": _mean(ratios >= _FINISHED),
        "ratings": float(len(ratings)),
        "mean_rating": _mean(ratings),
    }


def _watch_ratios(columns: EventColumns) -> NDArray[np.float64]:
    """Seen share, 0–1, of the watches whose length is known."""
    known = (columns.kind == _WATCH) & (columns.duration > 0) & ~np.isnan(columns.value)
    shares = columns.value[known].astype(np.float64) / columns.duration[known]
    return np.asarray(np.clip(shares, 0.0, 1.0), dtype=np.float64)


def _mean(values: NDArray[np.float32] | NDArray[np.float64] | NDArray[np.bool_]) -> float | None:
    return float(values.mean(dtype=np.float64)) if len(values) else None
