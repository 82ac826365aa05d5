"""Key figures of the lists that people were shown, per day and model version, from the request log.

Memory is bounded by the number of groups and items, not by the length of the log: each group holds a histogram of
latencies and one bit per item.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from app.domain.entities import KINDS, EventColumns, Kind
from app.domain.request_log import RequestEntry, user_pseudonym

MAX_GROUPS = 200
"""Days × versions shown one by one; what comes beyond is one group, `others`."""

OTHERS = ("others", None, None)
_FASTEST, _RATIO, _BINS = 1e-5, 1.05, 340
"""Latencies from 10 µs to some 160 s in steps of 5 %: a quantile is right within 2.5 %."""

_IGNORED = (KINDS.index(Kind.DISLIKE), KINDS.index(Kind.WATCHLIST))
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

Group = tuple[str, str | None, int | None]
"""Day (UTC), model id, version."""


class TakenUp:
    """Whether a user took an item within the window after a moment. Dislikes and watch lists do not count."""

    def __init__(self, columns: EventColumns, secret: bytes, window: timedelta) -> None:
        counted = ~np.isin(columns.kind, _IGNORED)
        self._items = {item_id: place for place, item_id in enumerate(columns.item_ids)}
        self._users = {user_pseudonym(secret, user_id): place for place, user_id in enumerate(columns.user_ids)}
        pairs = columns.user[counted].astype(np.int64) * len(columns.item_ids) + columns.item[counted]
        self._pairs, ranks = np.unique(pairs, return_inverse=True)
        # Rank of the pair in the upper bits, Unix seconds in the lower ones: sorted by pair, then by time.
        self._events = np.sort((ranks.astype(np.int64) << 32) | columns.occurred_at[counted].astype(np.int64))
        self._window = int(window.total_seconds())

    def hits(self, entries: Sequence[RequestEntry]) -> NDArray[np.bool_]:
        """(n,) per list: whether its user took one of its items."""
        found = np.zeros(len(entries), dtype=np.bool_)
        rows, pairs, moments = [], [], []
        for row, entry in enumerate(entries):
            user = None if entry.user is None else self._users.get(entry.user)
            if user is None:
                continue
            for item in entry.items:
                place = self._items.get(item.item_id)
                if place is not None:
                    rows.append(row)
                    pairs.append(user * len(self._items) + place)
                    moments.append(int(entry.at.timestamp()))
        if not rows or not len(self._pairs):
            return found
        ranks = np.searchsorted(self._pairs, pairs)
        known = self._pairs[np.minimum(ranks, len(self._pairs) - 1)] == pairs
        shown = (ranks.astype(np.int64) << 32) | np.asarray(moments, dtype=np.int64)
        next_event = np.searchsorted(self._events, shown, side="right")
        later = self._events[np.minimum(next_event, len(self._events) - 1)]
        taken = known & (next_event < len(self._events)) & (later > shown) & (later <= shown + self._window)
        found[np.asarray(rows)[taken]] = True
        return found


@dataclass(slots=True)
class _Tally:
    """One group. `latencies`: (_BINS,) counts; `shown`: (n_items,) of the catalog."""

    shown: NDArray[np.bool_]
    lists: int = 0
    fallbacks: int = 0
    cached: int = 0
    hits: int = 0
    places: int = 0
    novelty: float = 0.0
    latencies: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, dtype=np.int64))


class ListKpis:
    """Add the log in batches, then take `rows` and `totals`."""

    def __init__(self, columns: EventColumns, catalog: Collection[str], taken_up: TakenUp) -> None:
        self._taken_up = taken_up
        self._places = {item_id: place for place, item_id in enumerate(sorted(catalog))}
        self._novelty = _novelty(columns, self._places)
        self._groups: dict[Group, _Tally] = {}

    def add(self, entries: Sequence[RequestEntry]) -> None:
        """Count personal lists; what services looked at is left out. Blocking computation."""
        counted = [entry for entry in entries if entry.surface == "recs" and not entry.is_preview]
        for entry, is_hit in zip(counted, self._taken_up.hits(counted).tolist(), strict=True):
            tally = self._tally((entry.at.date().isoformat(), entry.model_id, entry.model_version))
            tally.lists += 1
            tally.fallbacks += entry.fallback_reason is not None
            tally.cached += entry.from_cache
            tally.hits += is_hit
            tally.latencies[_bin(entry.seconds)] += 1
            for item in entry.items:
                place = self._places.get(item.item_id)
                if place is not None:
                    tally.shown[place] = True
                    tally.places += 1
                    tally.novelty += float(self._novelty[place])

    def rows(self) -> list[dict[str, object]]:
        """One row a day and version, newest day first."""
        groups = sorted(self._groups.items(), key=lambda one: (one[0][0], one[0][2] or 0), reverse=True)
        return [
            {"day": day, "model_id": model_id, "version": version, **_figures(tally)}
            for (day, model_id, version), tally in groups
        ]

    def totals(self) -> dict[str, float | None]:
        """All days and versions together; names as in `encore kpis`."""
        total = _Tally(np.zeros(len(self._places), dtype=np.bool_))
        for tally in self._groups.values():
            for name in ("lists", "fallbacks", "cached", "hits", "places", "novelty"):
                setattr(total, name, getattr(total, name) + getattr(tally, name))
            total.shown |= tally.shown
            total.latencies += tally.latencies
        return {name if name == "lists" else f"list_{name}": value for name, value in _figures(total).items()}

    def _tally(self, group: Group) -> _Tally:
        if group not in self._groups and len(self._groups) >= MAX_GROUPS:
            group = OTHERS
        if group not in self._groups:
            self._groups[group] = _Tally(np.zeros(len(self._places), dtype=np.bool_))
        return self._groups[group]


def _novelty(columns: EventColumns, places: Mapping[str, int]) -> NDArray[np.float64]:
    """(n_items,) −log₂ of the share of active users who used the item (Vargas & Castells 2011, eq. 3), add-one."""
    pairs = np.unique(columns.user.astype(np.int64) * max(1, len(columns.item_ids)) + columns.item)
    users = np.zeros(len(places))
    for position, count in enumerate(np.bincount(pairs % max(1, len(columns.item_ids))).tolist()):
        place = places.get(columns.item_ids[position]) if count else None
        if place is not None:
            users[place] = count
    return np.asarray(-np.log2((users + 1) / (len(np.unique(columns.user)) + 1)), dtype=np.float64)


def _bin(seconds: float) -> int:
    place = int(np.log(max(seconds, _FASTEST) / _FASTEST) / np.log(_RATIO))
    return min(place, _BINS - 1)


def _figures(tally: _Tally) -> dict[str, float | None]:
    """`lists`, `latency_p50_ms` … `cache_hits`; a share of nothing is None."""
    return {
        "lists": float(tally.lists),
        **{f"latency_{name}_ms": _quantile(tally.latencies, share) for name, share in _QUANTILES.items()},
        "hit_rate": _share(tally.hits, tally.lists),
        "coverage": _share(int(tally.shown.sum()), len(tally.shown)),
        "novelty": _share(tally.novelty, tally.places),
        "fallback_share": _share(tally.fallbacks, tally.lists),
        "cache_hits": _share(tally.cached, tally.lists),
    }


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _quantile(latencies: NDArray[np.int64], share: float) -> float | None:
    """Milliseconds, from the middle of the bin; None of nothing."""
    total = int(latencies.sum())
    if not total:
        return None
    place = int(np.searchsorted(latencies.cumsum(), np.ceil(share * total)))
    return float(_FASTEST * _RATIO ** (place + 0.5) * 1_000)
