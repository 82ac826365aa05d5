"""Lists of the request log joined with what their users did next, in memory of a byte a list.

An interaction is an outcome of the newest list that showed its item to this user within the attribution window before
it; each interaction counts for one list at most. So the interactions are known first, as columns, and lists pass by in
batches: of each interaction only the newest list so far is kept (some 60 bytes), of each user a tally, of
each list its arm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.domain.entities import KINDS, EventColumns, Kind
from app.domain.experiment_statistics import UserSums
from app.domain.experiments import Metric
from app.domain.request_log import RequestEntry

User = bytes
LIKED_RATING = 4.0
FINISHED = 0.9
"""Who has seen nine tenths has seen it: the same as in the key figures."""

_POSITIVE = frozenset({Kind.WATCH, Kind.VIEW, Kind.CLICK, Kind.LIKE, Kind.PURCHASE, Kind.COMMENT, Kind.SHARE})


@dataclass(slots=True)
class Tally:
    """What one user saw and did in one arm. `seconds`: of all lists; `surprise`: −log2 popularity, of all items."""

    lists: int = 0
    empty: int = 0
    fallbacks: int = 0
    seconds: float = 0.0
    items: int = 0
    surprise: float = 0.0
    hits: int = 0
    watches: int = 0
    watched: float = 0.0
    finished: int = 0
    likes: int = 0
    ratings: int = 0
    purchases: int = 0


@dataclass(slots=True)
class ArmTally:
    """One arm: a tally a user, and which items it showed to anybody."""

    users: dict[User, Tally] = field(default_factory=lambda: defaultdict(Tally))
    items: set[str] = field(default_factory=set)


class AttributedEvents:
    """Interactions that wait for the list they came of. `users`: (n_users,) pseudonyms, as `columns.user_ids`."""

    def __init__(self, columns: EventColumns, users: Sequence[User], window_seconds: float, start: float) -> None:
        counted = np.flatnonzero(columns.occurred_at >= start)
        self._n_items = max(len(columns.item_ids), 1)
        pair = columns.user[counted].astype(np.int64) * self._n_items + columns.item[counted]
        order = counted[np.argsort(pair, kind="stable")]
        self._pair = np.sort(pair, kind="stable")
        self._user_rows = {user: row for row, user in enumerate(users)}
        self._item_rows = {item_id: row for row, item_id in enumerate(columns.item_ids)}
        self._window = window_seconds
        self.at = columns.occurred_at[order]
        self.kind = columns.kind[order]
        self.value = strengths(columns)[order]
        self.user = columns.user[order]
        self.item = columns.item[order]
        self.list_number = np.full(len(order), -1, dtype=np.int64)
        """(n,) the newest list that showed the item before the interaction; -1 without one."""
        self._shown_at = np.full(len(order), -np.inf)

    def show(self, entry: RequestEntry, number: int) -> None:
        """One list passes by; `number` must be 0 or more, and one list's own."""
        row = None if entry.user is None else self._user_rows.get(entry.user)
        if row is None or not len(self._pair):
            return
        at = entry.at.timestamp()
        positions = [self._item_rows[item.item_id] for item in entry.items if item.item_id in self._item_rows]
        wanted = row * self._n_items + np.array(positions, dtype=np.int64)
        first, last = np.searchsorted(self._pair, wanted), np.searchsorted(self._pair, wanted, "right")
        for place, end in zip(first[first < last].tolist(), last[first < last].tolist(), strict=True):
            span = slice(place, end)
            is_outcome = (self.at[span] >= at) & (self.at[span] - at <= self._window) & (self._shown_at[span] <= at)
            self._shown_at[span][is_outcome] = at
            self.list_number[span][is_outcome] = number

    @property
    def is_positive(self) -> NDArray[np.bool_]:
        """(n,) does this kind of interaction say that the item was wanted?"""
        kinds = np.array([kind in _POSITIVE for kind in KINDS])
        return np.asarray(kinds[self.kind] | self.is_liked)

    @property
    def is_liked(self) -> NDArray[np.bool_]:
        """(n,) a like, or a rating from 4 on."""
        is_rating = self.kind == KINDS.index(Kind.RATING)
        return np.asarray((self.kind == KINDS.index(Kind.LIKE)) | (is_rating & (self.value >= LIKED_RATING)))


class Exposures:
    """What each user of each arm was shown, and what came of it. Feed `add`, then call `finish` once."""

    def __init__(
        self, columns: EventColumns, users: Sequence[User], *, attribution_seconds: float, start: float
    ) -> None:
        self._events = AttributedEvents(columns, users, attribution_seconds, start)
        self._users = users
        self._arms: list[str] = []
        self._arm_of_list: list[NDArray[np.int8]] = []
        self._surprise, self._surprise_of_new = _surprise(columns, start)
        self._lists = 0
        self.arms: dict[str, ArmTally] = defaultdict(ArmTally)
        early = np.bincount(columns.user[columns.occurred_at < start], minlength=len(users))
        self.before: Mapping[User, int] = {users[row]: int(early[row]) for row in np.flatnonzero(early).tolist()}

    def add(self, entries: Iterable[RequestEntry]) -> None:
        """Lists in the order they were stored. Previews and lists of nobody or of no arm do not count."""
        arms: list[int] = []
        for entry in entries:
            if entry.user is None or entry.variant is None or entry.is_preview:
                continue
            if entry.variant not in self._arms:
                self._arms.append(entry.variant)
            self._events.show(entry, self._lists + len(arms))
            arms.append(self._arms.index(entry.variant))
            self._count_list(entry, self.arms[entry.variant])
        self._arm_of_list.append(np.array(arms, dtype=np.int8))
        self._lists += len(arms)

    def _count_list(self, entry: RequestEntry, arm: ArmTally) -> None:
        assert entry.user is not None, "lists of nobody do not count"
        tally, shown = arm.users[entry.user], [item.item_id for item in entry.items]
        tally.lists += 1
        tally.empty += not shown
        tally.fallbacks += entry.fallback_reason is not None
        tally.seconds += entry.seconds
        tally.items += len(shown)
        tally.surprise += sum(self._surprise.get(item_id, self._surprise_of_new) for item_id in shown)
        arm.items.update(shown)

    def finish(self) -> None:
        """Give every outcome to its list's user and arm."""
        events = self._events
        arm_of_list = np.concatenate([np.zeros(0, dtype=np.int8), *self._arm_of_list])
        rows = np.flatnonzero(events.list_number >= 0)
        is_liked, is_hit, found = events.is_liked, events.is_positive, set[int]()
        for row in rows.tolist():
            number = int(events.list_number[row])
            tally = self.arms[self._arms[arm_of_list[number]]].users[self._users[events.user[row]]]
            if is_hit[row] and number not in found:
                found.add(number)
                tally.hits += 1
            _count(tally, KINDS[events.kind[row]], float(events.value[row]), is_liked=bool(is_liked[row]))

    def user_sums(self, metric: Metric, arm: str) -> UserSums:
        """One metric of one arm, a row a user."""
        tallies = self.arms[arm].users if arm in self.arms else {}
        pairs = np.array([SUMS[metric](tally) for tally in tallies.values()], dtype=np.float64).reshape(-1, 2)
        before = np.array([self.before.get(user, 0) for user in tallies], dtype=np.float64)
        return UserSums(pairs[:, 0], pairs[:, 1], before)

    def n_users(self, arm: str) -> int:
        """Users of this arm who were shown anything."""
        return len(self.arms[arm].users) if arm in self.arms else 0


def strengths(columns: EventColumns) -> NDArray[np.float64]:
    """(n,) the value of each interaction; for watches the watched ratio, NaN where the duration is unknown."""
    value, duration = columns.value.astype(np.float64), columns.duration.astype(np.float64)
    ratio = np.divide(value, duration, out=np.full(len(value), np.nan), where=duration > 0)
    return np.where(columns.kind == KINDS.index(Kind.WATCH), ratio, value)


def _surprise(columns: EventColumns, start: float) -> tuple[Mapping[str, float], float]:
    """−log2 of (users of an item before the start + 1) / (users + 1) by item, and of an item nobody had.

    Mean self-information (Zhou et al. 2010, https://doi.org/10.1073/pnas.1000488107), smoothed by one user.
    """
    early = columns.occurred_at < start
    n_items = max(len(columns.item_ids), 1)
    pairs = np.unique(columns.user[early].astype(np.int64) * n_items + columns.item[early])
    having = np.bincount(pairs % n_items, minlength=n_items)
    n_users = len(np.unique(pairs // n_items))
    bits = np.log2((n_users + 1) / (having + 1))
    return dict(zip(columns.item_ids, bits.tolist(), strict=False)), float(np.log2(n_users + 1))


def _count(tally: Tally, kind: Kind, value: float, *, is_liked: bool) -> None:
    tally.likes += is_liked
    tally.ratings += kind is Kind.RATING
    tally.purchases += kind is Kind.PURCHASE
    if kind is Kind.WATCH and not np.isnan(value):
        tally.watches += 1
        tally.watched += min(value, 1.0)
        tally.finished += value >= FINISHED


SUMS: Mapping[Metric, Callable[[Tally], tuple[float, float]]] = {
    Metric.HIT_RATE: lambda tally: (tally.hits, tally.lists),
    Metric.USER_HIT_RATE: lambda tally: (float(tally.hits > 0), 1),
    Metric.WATCH_RATIO: lambda tally: (tally.watched, tally.watches),
    Metric.WATCH_THROUGH: lambda tally: (tally.finished, tally.watches),
    Metric.LIKES_PER_LIST: lambda tally: (tally.likes, tally.lists),
    Metric.RATINGS_PER_LIST: lambda tally: (tally.ratings, tally.lists),
    Metric.PURCHASES_PER_LIST: lambda tally: (tally.purchases, tally.lists),
    Metric.NOVELTY: lambda tally: (tally.surprise, tally.items),
    Metric.LATENCY_MS: lambda tally: (tally.seconds * 1e3, tally.lists),
    Metric.FALLBACK_SHARE: lambda tally: (tally.fallbacks, tally.lists),
    Metric.EMPTY_SHARE: lambda tally: (tally.empty, tally.lists),
}
"""(numerator, denominator) of one user."""
