"""From what users did to how much it counts: kind weights, repeats, half-life, and the features of items and users.

One formula serves training (`dataset_from`) and serving (`history_of`), so that a model ranks from the same weights it
has learnt from. The weight of a (user, item) pair is the sum over its kinds of

    policy.weights[kind] x strength x min(1 + ln(count), cap) x 2 ** (-age in days / half_life_days)

and where a kind speaks against the item (a dislike, a rating below 2), only those kinds are summed: what somebody says
counts more than what somebody did. *Strength* is the largest watched ratio for watch; (rating - 2) / 3 for rating, so
that five stars count 1, two stars nothing and one star against; the newest value for watchlist (1 added, 0 removed);
else the largest value, 0 to `cap`. Times in the future count as now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Features, Histories, IdMap
from app.domain.entities import KINDS, EventColumns, Item, Kind, PairState, User
from app.domain.features import encode_items, encode_users, feature_names, user_feature_names

__all__ = ["DEFAULT_WEIGHTS", "SignalPolicy", "dataset_from", "encode_items", "feature_names", "history_of"]

DEFAULT_WEIGHTS: Mapping[Kind, float] = MappingProxyType(
    {
        Kind.WATCH: 1.0,
        Kind.RATING: 1.0,
        Kind.WATCHLIST: 0.5,
        Kind.VIEW: 0.3,
        Kind.LIKE: 1.0,
        Kind.DISLIKE: -1.0,
        Kind.COMMENT: 0.6,
        Kind.SHARE: 1.0,
        Kind.CLICK: 0.3,
        Kind.PURCHASE: 1.5,
    }
)

_WATCH, _RATING, _WATCHLIST = KINDS.index(Kind.WATCH), KINDS.index(Kind.RATING), KINDS.index(Kind.WATCHLIST)
_LIKE, _DISLIKE = KINDS.index(Kind.LIKE), KINDS.index(Kind.DISLIKE)
_PLACES = {kind: place for place, kind in enumerate(KINDS)}
_NEUTRAL_RATING, _RATING_SPAN = 2.0, 3.0
_DAY_SECONDS = 86_400.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SignalPolicy:
    """How much each kind counts. `cap` bounds what repeats (and bots) can add to one pair."""

    weights: Mapping[Kind, float] = field(default_factory=lambda: DEFAULT_WEIGHTS)
    half_life_days: float = 3_650.0
    cap: float = 3.0


@dataclass(frozen=True, slots=True)
class _States:
    """Pair states as arrays of equal length: kind position, newest value (NaN: none), peak, count, newest time."""

    kind: NDArray[np.int64]
    value: Floats
    peak: Floats
    count: Floats
    time: Floats


def _weights(states: _States, policy: SignalPolicy, now: float) -> Floats:
    """(n,) weight of each state at `now` (Unix seconds)."""
    base = np.array([policy.weights.get(kind, 0.0) for kind in KINDS])[states.kind]
    newest = np.where(np.isnan(states.value), 1.0, states.value)
    strength = np.clip(states.peak, 0.0, policy.cap)
    strength = np.where(states.kind == _WATCH, np.clip(states.peak, 0.0, 1.0), strength)
    rating = np.where(np.isnan(states.value), 1.0, (states.value - _NEUTRAL_RATING) / _RATING_SPAN)
    strength = np.where(states.kind == _RATING, rating, strength)
    strength = np.where(states.kind == _WATCHLIST, np.clip(newest, 0.0, 1.0), strength)
    # A rating counts once however often it is given again: only the newest opinion holds.
    repeats = np.where(states.kind == _RATING, 1.0, np.minimum(1.0 + np.log(np.maximum(states.count, 1.0)), policy.cap))
    age_days = np.maximum(now - states.time, 0.0) / _DAY_SECONDS
    return np.asarray(base * strength * repeats * np.exp2(-age_days / policy.half_life_days), dtype=np.float64)


def history_of(
    states: Sequence[PairState], policy: SignalPolicy, now: datetime
) -> tuple[tuple[str, float, float], ...]:
    """(item_id, weight, newest Unix time) of one user's pair states: newest first (ties by item_id), one per item.

    Items that weigh nothing stay, with weight 0: the user has seen them.
    """
    if not states:
        return ()
    arrays = _States(
        np.array([_PLACES[state.kind] for state in states]),
        np.array([np.nan if state.value is None else state.value for state in states], dtype=np.float64),
        np.array([state.peak for state in states], dtype=np.float64),
        np.array([state.count for state in states], dtype=np.float64),
        np.array([state.occurred_at.timestamp() for state in states], dtype=np.float64),
    )
    merged: dict[str, tuple[float, float, float]] = {}
    weights = _weights(arrays, policy, now.timestamp())
    for state, weight, time in zip(states, weights.tolist(), arrays.time.tolist(), strict=True):
        liked, disliked, newest = merged.get(state.item_id, (0.0, 0.0, time))
        merged[state.item_id] = (liked + max(weight, 0.0), disliked + min(weight, 0.0), max(newest, time))
    entries = ((item_id, disliked or liked, time) for item_id, (liked, disliked, time) in merged.items())
    return _newest_first(entries)


def history_before(
    columns: EventColumns, user: int, until: datetime, policy: SignalPolicy, now: datetime
) -> tuple[tuple[str, float, float], ...]:
    """What `history_of` gave for the user in this row of `columns` before `until`, at `now`."""
    low, end = np.searchsorted(columns.user, [user, user + 1]).tolist()
    high = low + int(np.searchsorted(columns.occurred_at[low:end], until.timestamp()))
    rows = slice(low, high)
    part = EventColumns(
        columns.user_ids,
        columns.item_ids,
        columns.user[rows],
        columns.item[rows],
        columns.kind[rows],
        columns.value[rows],
        columns.duration[rows],
        columns.occurred_at[rows],
    )
    found = _histories(part, np.zeros(high - low, dtype=np.int32), part.item, 1, policy, now.timestamp())
    entries = zip(found.items.tolist(), found.weights.tolist(), found.times.tolist(), strict=True)
    named = [(columns.item_ids[item], weight, time) for item, weight, time in entries]
    return _newest_first(named)


def _newest_first(entries: Iterable[tuple[str, float, float]]) -> tuple[tuple[str, float, float], ...]:
    """(item id, weight, Unix seconds) by time; ties by id."""
    return tuple(sorted(entries, key=lambda entry: (-entry[2], entry[0])))


def dataset_from(
    columns: EventColumns, policy: SignalPolicy, now: datetime, items: Sequence[Item], users: Sequence[User]
) -> Dataset:
    """The training set of these events: users with events, items with events or in the catalog, both in id order.

    Its histories hold, pair by pair, what `history_of` gives for the same events at the same `now`.
    """
    user_map, user_position = _id_order(columns.user_ids, columns.user, ())
    item_map, item_position = _id_order(columns.item_ids, columns.item, [item.item_id for item in items])
    user, item = user_position[columns.user], item_position[columns.item]
    histories = _histories(columns, user, item, len(user_map), policy, now.timestamp())
    profiles = _user_features(users, user_map)
    if profiles is not None:
        histories = replace(histories, profiles=profiles.matrix)
    return Dataset(user_map, item_map, histories, _item_features(items, item_map), profiles)


def _id_order(ids: Sequence[str], used: NDArray[np.int32], more: Sequence[str]) -> tuple[IdMap, NDArray[np.int32]]:
    """A map of the ids that are used (and `more`) in text order, and old position → new position."""
    present = np.unique(used)
    names = [ids[old] for old in present.tolist()]
    ordered = IdMap(sorted({*names, *more}))
    position = np.full(len(ids), -1, dtype=np.int32)
    position[present] = ordered.positions(names)
    return ordered, position


def _histories(
    columns: EventColumns,
    user: NDArray[np.int32],
    item: NDArray[np.int32],
    n_users: int,
    policy: SignalPolicy,
    now: float,
) -> Histories:
    """Merge events into one entry per (user, item), newest first within each user."""
    states, state_user, state_item = _states(columns, user, item)
    weights = _weights(states, policy, now)
    first = _starts(state_user, state_item)
    pair_user, pair_item = state_user[first], state_item[first]
    pair_weight = _pair_weights(weights, first) if len(first) else weights
    pair_time = np.maximum.reduceat(states.time, first) if len(first) else states.time
    order = np.lexsort((pair_item, -pair_time, pair_user))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(pair_user, minlength=n_users))]).astype(np.int64)
    return Histories(
        indptr,
        pair_item[order].astype(np.int32),
        pair_weight[order].astype(np.float32),
        pair_time[order].astype(np.float64),
        now,
    )


def _pair_weights(weights: Floats, first: NDArray[np.int64]) -> Floats:
    """The weight of each pair from those of its kinds: of all, or of those below zero where there are any."""
    disliked = np.add.reduceat(np.minimum(weights, 0.0), first)
    return np.where(disliked < 0.0, disliked, np.add.reduceat(np.maximum(weights, 0.0), first))


def _states(
    columns: EventColumns, user: NDArray[np.int32], item: NDArray[np.int32]
) -> tuple[_States, NDArray[np.int32], NDArray[np.int32]]:
    """Events → one state per (user, item, kind), with user and item of each, sorted by (user, item)."""
    kind = columns.kind.astype(np.int64)
    # Like and dislike share one state: the newest decides.
    shared = np.where(kind == _DISLIKE, _LIKE, kind)
    # lexsort is stable and events arrive in (user, time, event order): the last of a group is its newest.
    order = np.lexsort((shared, item, user))
    user, item, shared = user[order], item[order], shared[order]
    first = _starts(user, item, shared)
    last = np.append(first[1:], len(order)) - 1 if len(first) else first
    value = columns.value[order].astype(np.float64)
    peak = _peaks(kind[order], value, columns.duration[order].astype(np.float64))
    states = _States(
        kind[order][last],
        value[last],
        np.maximum.reduceat(peak, first) if len(first) else peak,
        (last - first + 1).astype(np.float64),
        columns.occurred_at[order][last],
    )
    return states, user[first], item[first]


def _peaks(kind: NDArray[np.int64], value: Floats, duration: Floats) -> Floats:
    """(n,) the strength PairState.peak keeps the largest of: watched ratio 0–1, else the value, 1.0 where none."""
    plain = np.where(np.isnan(value), 1.0, value)
    known = (kind == _WATCH) & ~np.isnan(value) & (duration > 0)
    ratio = np.divide(plain, duration, out=np.ones_like(plain), where=known)
    return np.where(kind == _WATCH, np.clip(ratio, 0.0, 1.0), plain)


def _starts(*keys: NDArray[np.integer]) -> NDArray[np.int64]:
    """Where a new combination of the sorted keys begins."""
    if not len(keys[0]):
        return np.empty(0, dtype=np.int64)
    changed = np.zeros(len(keys[0]), dtype=bool)
    changed[0] = True
    for key in keys:
        changed[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(changed)


def _item_features(items: Sequence[Item], ids: IdMap) -> Features | None:
    names = feature_names(items)
    if not names:
        return None
    by_id = {item.item_id: item for item in items}
    return Features(encode_items([by_id.get(item_id) for item_id in ids.ids], names), names)


def _user_features(users: Sequence[User], ids: IdMap) -> Features | None:
    known = [user for user in users if user.user_id in ids]
    names = user_feature_names(known)
    if not names:
        return None
    by_id = {user.user_id: user for user in known}
    return Features(encode_users([by_id.get(user_id) for user_id in ids.ids], names), names)
