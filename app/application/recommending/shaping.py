"""From scores to a list that people like: rules, nothing twice, diversity, one place to explore.

Pure computation on one view of the catalogue. What each step is for: docs/adr/0060-the-shape-of-a-list.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.application.recommending.ranking import best
from app.application.recommending.rules import Block, Boost, Pin, Quota, Rules, Select, Window
from app.application.serving.catalogue_view import NO_YEAR, CatalogueView
from app.application.serving.facets import ATTRIBUTE, TAGS
from app.domain.diversity import Rows, Share, diversified, kinds_of, told_apart, unit, within_shares
from app.domain.exploration import Exploration, draw

POOL = 3
"""Diversity chooses out of so many times the length of a list."""

SPARE = 20
"""Items beyond the end of a list that take the place of what would stand in it twice."""

MAX_PLACE = 1_000
"""Beyond any place a pin can ask for: 100, and 20 pins after it."""

Positions = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class House:
    """What the settings say about all lists."""

    rules: Rules = ()
    diversity: float = 0.0
    exploration: Exploration = field(default_factory=Exploration)

    @property
    def mark(self) -> str:
        """Names these settings in the labels of lists, so that replicas of other settings do not share them."""
        if self == House():
            return ""
        # Sorted, as sets of texts are walked in another order by every process.
        return "." + blake2b(msgspec.json.encode(self, order="deterministic"), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class Matched:
    """Rules with the positions (int32, ascending) of their items in one view."""

    pins: Sequence[tuple[Pin, Positions]] = ()
    boosts: Sequence[tuple[Boost, Positions]] = ()
    hidden: Sequence[tuple[Block | Window, Positions]] = ()
    quotas: Sequence[tuple[Quota, Positions]] = ()

    @property
    def orders(self) -> bool:
        """Whether any of them can change an order."""
        return bool(self.pins or self.boosts or self.quotas)

    def and_more(self, more: Matched) -> Matched:
        """Both, these first."""
        if more is NONE:
            return self
        return Matched(
            (*self.pins, *more.pins),
            (*self.boosts, *more.boosts),
            (*self.hidden, *more.hidden),
            (*self.quotas, *more.quotas),
        )

    def hidden_at(self, at: float) -> Iterator[Positions]:
        """What must not be shown at this Unix time."""
        for rule, positions in self.hidden:
            if rule.counts_at(at) is isinstance(rule, Block):
                yield positions

    def turns_after(self, at: float) -> float:
        """The next Unix time at which a rule begins or ends."""
        rules = (rule for kind in (self.pins, self.boosts, self.hidden, self.quotas) for rule, _positions in kind)
        return min((turn for rule in rules for turn in (rule.begins, rule.ends) if turn > at), default=np.inf)

    def wanted(self, at: float, most: int) -> Positions:
        """Items that the rules lift, up to `most` of each: worth scoring wherever they stand."""
        lifted = [positions[:most] for rule, positions in self.pins if rule.counts_at(at)]
        lifted += [positions[:most] for rule, positions in self.boosts if rule.by > 0 and rule.counts_at(at)]
        lifted += [positions[:most] for rule, positions in self.quotas if rule.at_least and rule.counts_at(at)]
        return np.concatenate([np.empty(0, dtype=np.int32), *lifted])


NONE = Matched()


def matched(rules: Rules, view: CatalogueView) -> Matched:
    """The rules with their items in this view."""
    if not rules:
        return NONE
    found = [(rule, _positions(rule.select, view)) for rule in rules]
    return Matched(
        [(rule, positions) for rule, positions in found if isinstance(rule, Pin)],
        [(rule, positions) for rule, positions in found if isinstance(rule, Boost)],
        [(rule, positions) for rule, positions in found if isinstance(rule, (Block, Window))],
        [(rule, positions) for rule, positions in found if isinstance(rule, Quota)],
    )


def _positions(select: Select, view: CatalogueView) -> Positions:
    if select == Select(items=select.items):
        return np.sort(view.ids.positions(select.items))
    mask = np.ones(len(view), dtype=np.bool_)
    if select.items:
        mask[:] = False
        mask[view.ids.positions(select.items)] = True
    if select.genres:
        mask &= view.of_genres(select.genres)
    if select.tags:
        mask &= view.facet(TAGS).matching(select.tags)
    for name, values in select.attributes.items():
        mask &= view.facet(ATTRIBUTE + name).matching(values)
    if select.year_min is not None:
        mask &= view.year >= select.year_min
    if select.year_max is not None:
        mask &= (view.year <= select.year_max) & (view.year != NO_YEAR)
    return np.flatnonzero(mask).astype(np.int32)


def boosted(
    scores: NDArray[np.float32], positions: Positions, rules: Matched, n: int, at: float
) -> NDArray[np.float32]:
    """(m,) what items are ordered by: their scores, raised by the boosts in force. `n`: items of the view."""
    lifts = [(rule.by, items) for rule, items in rules.boosts if rule.counts_at(at)]
    if not lifts or not len(scores):
        return scores
    lift = np.zeros(n, dtype=np.float32)
    for by, items in lifts:
        lift[items] += np.float32(by)
    spread = float(scores.std())
    return scores + lift[positions] * np.float32(spread or 1.0)


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may stand in a list: `positions` (m,) in the view, and `keys` (m,) to order them by."""

    view: CatalogueView
    positions: Positions
    keys: NDArray[np.float32]
    vectors: NDArray[np.float32] | None = None
    """(items of the view, f) of a tower, for likeness; None: genres alone tell."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The row of a list that explores (-1: none does), whether it does so now, and the chance of what stands there."""

    row: int = -1
    is_drawn: bool = False
    propensity: float = 1.0


@dataclass(frozen=True, slots=True)
class Order:
    """Rows of `Candidates.positions`, best first, some more than asked for; `pinned` (n,) those that stand by rule."""

    rows: Rows
    pinned: NDArray[np.bool_]


def shaped(found: Candidates, size: int, diversity: float, rules: Matched, at: float) -> Order:
    """The order of a list of `size` items, and up to SPARE after them.

    As long as `size` items may be shown, the list has `size`: what stands in it twice, or above a quota, comes last.
    """
    quotas = [(rule, items) for rule, items in rules.quotas if rule.counts_at(at)]
    wanted = size + SPARE
    rows = best(found.keys, found.positions, found.view.ids.ids, size * POOL if diversity > 0 or quotas else wanted)
    rows = _with_promised(found, rows, quotas)
    first, again = told_apart(found.view.title_key[found.positions[rows]])
    rows, twins = rows[first], rows[again]
    if diversity > 0:
        rows = _diverse(found, rows, wanted, diversity)
    rows = np.concatenate([rows, twins])
    if quotas:
        shares = [_share(rule, np.isin(found.positions[rows], items)) for rule, items in quotas]
        rows = rows[within_shares(len(rows), shares, wanted)]
    return _pinned(found, rows[:wanted], [(rule, items) for rule, items in rules.pins if rule.counts_at(at)])


def _with_promised(found: Candidates, rows: Rows, quotas: Iterable[tuple[Quota, Positions]]) -> Rows:
    """The pool, with the best of those that a quota promises places to."""
    for rule, items in quotas:
        if rule.at_least:
            rows = np.concatenate([rows, np.setdiff1d(_best_of(found, items, rule.at_least), rows)])
    return rows


def _best_of(found: Candidates, items: Positions, k: int) -> Rows:
    """The best k rows of these items."""
    members = np.flatnonzero(np.isin(found.positions, items))
    return members[best(found.keys[members], found.positions[members], found.view.ids.ids, k)]


def _share(rule: Quota, members: NDArray[np.bool_]) -> Share:
    return Share(members, rule.within, rule.at_least or 0, rule.at_most)


def _diverse(found: Candidates, rows: Rows, n: int, strength: float) -> Rows:
    """The best n told apart by genres and, where there is a tower, by its vectors too; the others after them."""
    positions, view = found.positions[rows], found.view
    kinds = kinds_of(view.genre_sets, view.genre_set[positions])
    if found.vectors is not None:
        kinds = np.hstack([kinds, unit(found.vectors[positions])]) * np.float32(np.sqrt(0.5))
    chosen = diversified(found.keys[rows], kinds, strength, n)
    left = np.ones(len(rows), dtype=np.bool_)
    left[chosen] = False
    return np.concatenate([rows[chosen], rows[left]])


def _pinned(found: Candidates, rows: Rows, pins: Sequence[tuple[Pin, Positions]]) -> Order:
    """The rows with the pinned ones in their places; several at one place stand there by score."""
    fixed: dict[int, int] = {}
    for rule, items in sorted(pins, key=lambda pin: pin[0].position):
        for row in _best_of(found, items, len(items)).tolist():
            if row not in fixed.values():
                place = next(place for place in range(rule.position - 1, MAX_PLACE) if place not in fixed)
                fixed[place] = row
    if not fixed:
        return Order(rows, np.zeros(len(rows), dtype=np.bool_))
    order = rows[~np.isin(rows, list(fixed.values()))].tolist()
    for place, row in sorted(fixed.items()):
        order.insert(place, row)
    merged = np.array(order, dtype=np.intp)
    return Order(merged, np.isin(merged, list(fixed.values())))


def explored(
    found: Candidates, order: Order, size: int, exploration: Exploration, rules: Matched, seed: str
) -> tuple[Rows, Slot]:
    """The first `size` rows, with one of them given to what nobody knows enough about, or not; and which.

    A place that a pin fills, or that counts for a quota, is left alone.
    """
    rows, place = order.rows[:size], exploration.position - 1
    is_ruled = any(place < rule.within for rule, _items in rules.quotas)
    if exploration.share <= 0 or place >= len(rows) or order.pinned[place] or is_ruled:
        return rows, Slot()
    pool = _uncertain(found, order.rows, size, exploration.pool)
    drawn = draw(exploration, len(pool), seed)
    if drawn.row is None:
        return rows, Slot(place if len(pool) else -1, False, drawn.propensity)
    rows = rows.copy()
    rows[place] = pool[drawn.row]
    return rows, Slot(place, True, drawn.propensity)


def _uncertain(found: Candidates, rows: Rows, size: int, most: int) -> Rows:
    """Items the model has never seen, best first; then those that have just missed the list. None that is in it."""
    newer = np.flatnonzero(found.positions >= found.view.n_model)
    newer = np.setdiff1d(newer, rows[:size])
    fresh = newer[best(found.keys[newer], found.positions[newer], found.view.ids.ids, most)]
    missed = rows[size:]
    return np.concatenate([fresh, missed[~np.isin(missed, fresh)]])[:most]
