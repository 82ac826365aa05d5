"""From scores to a list that people like: rules, nothing twice, diversity, one place to explore.

Pure computation on one view of the catalog. What each step is for: docs/adr/0018-the-shape-of-a-list.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.catalog_view import NO_YEAR, CatalogView
from app.domain.diversity import (
    PositionQuota,
    Rows,
    apply_quotas,
    mmr_order,
    set_vectors,
    split_duplicates,
    unit_length,
)
from app.domain.exploration import Exploration, draw
from app.domain.facets import ATTRIBUTE, TAGS
from app.domain.list_query import SeenPolicy
from app.domain.rules import AvailabilityWindow, Block, Boost, ItemSelector, Pin, Quota, Rules
from app.domain.top_k import top_k

POOL = 3
"""Diversity chooses out of so many times the length of a list."""

SPARE = 20
"""Items beyond the end of a list that take the place of what would stand in it twice."""

MAX_PLACE = 1_000
"""Beyond any place a pin can ask for: 100, and 20 pins after it."""

Positions = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class RankingPolicy:
    """What the settings say about all lists."""

    rules: Rules = ()
    diversity: float = 0.0
    exploration: Exploration = field(default_factory=Exploration)
    exclude_seen: SeenPolicy = "always"

    @property
    def fingerprint(self) -> str:
        """Names these settings in the labels of lists, so that replicas of other settings do not share them."""
        if self == RankingPolicy():
            return ""
        # Sorted, as sets of texts are walked in another order by every process.
        return "." + blake2b(msgspec.json.encode(self, order="deterministic"), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class ResolvedRules:
    """Rules with the positions (int32, ascending) of their items in one view."""

    pins: Sequence[tuple[Pin, Positions]] = ()
    boosts: Sequence[tuple[Boost, Positions]] = ()
    hidden: Sequence[tuple[Block | AvailabilityWindow, Positions]] = ()
    quotas: Sequence[tuple[Quota, Positions]] = ()

    def merged_with(self, more: ResolvedRules) -> ResolvedRules:
        """Both, these first."""
        if more is NO_RULES:
            return self
        return ResolvedRules(
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

    def next_change_after(self, at: float) -> float:
        """The next Unix time at which a rule begins or ends."""
        rules = (rule for kind in (self.pins, self.boosts, self.hidden, self.quotas) for rule, _positions in kind)
        return min((turn for rule in rules for turn in (rule.begins, rule.ends) if turn > at), default=np.inf)

    def promoted(self, at: float, most: int) -> Positions:
        """Items that the rules lift, up to `most` of each: worth scoring wherever they stand."""
        lifted = [positions[:most] for rule, positions in self.pins if rule.counts_at(at)]
        lifted += [positions[:most] for rule, positions in self.boosts if rule.by > 0 and rule.counts_at(at)]
        lifted += [positions[:most] for rule, positions in self.quotas if rule.at_least and rule.counts_at(at)]
        return np.concatenate([np.empty(0, dtype=np.int32), *lifted])


NO_RULES = ResolvedRules()


def resolve_rules(rules: Rules, view: CatalogView) -> ResolvedRules:
    """The rules with their items in this view."""
    if not rules:
        return NO_RULES
    found = [(rule, _positions(rule.select, view)) for rule in rules]
    return ResolvedRules(
        [(rule, positions) for rule, positions in found if isinstance(rule, Pin)],
        [(rule, positions) for rule, positions in found if isinstance(rule, Boost)],
        [(rule, positions) for rule, positions in found if isinstance(rule, (Block, AvailabilityWindow))],
        [(rule, positions) for rule, positions in found if isinstance(rule, Quota)],
    )


def _positions(select: ItemSelector, view: CatalogView) -> Positions:
    if select == ItemSelector(items=select.items):
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


def apply_boosts(
    scores: NDArray[np.float32], positions: Positions, rules: ResolvedRules, n: int, at: float
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
class RerankCandidates:
    """What may stand in a list: `positions` (m,) in the view, and `keys` (m,) to order them by."""

    view: CatalogView
    positions: Positions
    keys: NDArray[np.float32]
    vectors: NDArray[np.float32] | None = None
    """(items of the view, f) of a tower, for likeness; None: genres alone tell."""


@dataclass(frozen=True, slots=True)
class ExplorationSlot:
    """The row of a list that explores (-1: none does), whether it does so now, and the chance of what stands there."""

    row: int = -1
    is_drawn: bool = False
    propensity: float = 1.0


@dataclass(frozen=True, slots=True)
class RerankedRows:
    """Rows of `RerankCandidates.positions`, best first, some more than asked for; `pinned` (n,): placed by a rule."""

    rows: Rows
    pinned: NDArray[np.bool_]


def rerank(found: RerankCandidates, size: int, diversity: float, rules: ResolvedRules, at: float) -> RerankedRows:
    """The order of a list of `size` items, and up to SPARE after them.

    As long as `size` items may be shown, the list has `size`: what stands in it twice, or above a quota, comes last.
    """
    quotas = [(rule, items) for rule, items in rules.quotas if rule.counts_at(at)]
    wanted = size + SPARE
    rows = top_k(found.keys, found.positions, found.view.ids.ids, size * POOL if diversity > 0 or quotas else wanted)
    rows = _with_promised(found, rows, quotas)
    first, again = split_duplicates(found.view.title_key[found.positions[rows]])
    rows, twins = rows[first], rows[again]
    if diversity > 0:
        rows = _diverse(found, rows, wanted, diversity)
    rows = np.concatenate([rows, twins])
    if quotas:
        shares = [_share(rule, np.isin(found.positions[rows], items)) for rule, items in quotas]
        rows = rows[apply_quotas(len(rows), shares, wanted)]
    return _pinned(found, rows[:wanted], [(rule, items) for rule, items in rules.pins if rule.counts_at(at)])


def _with_promised(found: RerankCandidates, rows: Rows, quotas: Iterable[tuple[Quota, Positions]]) -> Rows:
    """The pool, with the best of those that a quota promises places to."""
    for rule, items in quotas:
        if rule.at_least:
            rows = np.concatenate([rows, np.setdiff1d(_best_of(found, items, rule.at_least), rows)])
    return rows


def _best_of(found: RerankCandidates, items: Positions, k: int) -> Rows:
    """The best k rows of these items."""
    members = np.flatnonzero(np.isin(found.positions, items))
    return members[top_k(found.keys[members], found.positions[members], found.view.ids.ids, k)]


def _share(rule: Quota, members: NDArray[np.bool_]) -> PositionQuota:
    return PositionQuota(members, rule.within, rule.at_least or 0, rule.at_most)


def _diverse(found: RerankCandidates, rows: Rows, n: int, strength: float) -> Rows:
    """The best n told apart by genres and, where there is a tower, by its vectors too; the others after them."""
    positions, view = found.positions[rows], found.view
    kinds = set_vectors(view.genre_sets, view.genre_set[positions])
    if found.vectors is not None:
        kinds = np.hstack([kinds, unit_length(found.vectors[positions])]) * np.float32(np.sqrt(0.5))
    chosen = mmr_order(found.keys[rows], kinds, strength, n)
    left = np.ones(len(rows), dtype=np.bool_)
    left[chosen] = False
    return np.concatenate([rows[chosen], rows[left]])


def _pinned(found: RerankCandidates, rows: Rows, pins: Sequence[tuple[Pin, Positions]]) -> RerankedRows:
    """The rows with the pinned ones in their places; several at one place stand there by score."""
    fixed: dict[int, int] = {}
    for rule, items in sorted(pins, key=lambda pin: pin[0].position):
        for row in _best_of(found, items, len(items)).tolist():
            if row not in fixed.values():
                place = next(place for place in range(rule.position - 1, MAX_PLACE) if place not in fixed)
                fixed[place] = row
    if not fixed:
        return RerankedRows(rows, np.zeros(len(rows), dtype=np.bool_))
    order = rows[~np.isin(rows, list(fixed.values()))].tolist()
    for place, row in sorted(fixed.items()):
        order.insert(place, row)
    merged = np.array(order, dtype=np.intp)
    return RerankedRows(merged, np.isin(merged, list(fixed.values())))


def apply_exploration(
    found: RerankCandidates, order: RerankedRows, size: int, exploration: Exploration, rules: ResolvedRules, seed: str
) -> tuple[Rows, ExplorationSlot]:
    """The first `size` rows, with one of them given to what nobody knows enough about, or not; and which.

    A place that a pin fills, or that counts for a quota, is left alone.
    """
    rows, place = order.rows[:size], exploration.position - 1
    is_ruled = any(place < rule.within for rule, _items in rules.quotas)
    if exploration.share <= 0 or place >= len(rows) or order.pinned[place] or is_ruled:
        return rows, ExplorationSlot()
    pool = _uncertain(found, order.rows, size, exploration.pool)
    drawn = draw(exploration, len(pool), seed)
    if drawn.row is None:
        return rows, ExplorationSlot(place if len(pool) else -1, False, drawn.propensity)
    rows = rows.copy()
    rows[place] = pool[drawn.row]
    return rows, ExplorationSlot(place, True, drawn.propensity)


def _uncertain(found: RerankCandidates, rows: Rows, size: int, most: int) -> Rows:
    """Items the model has never seen, best first; then those that have just missed the list. None that is in it."""
    newer = np.flatnonzero(found.positions >= found.view.n_model)
    newer = np.setdiff1d(newer, rows[:size])
    fresh = newer[top_k(found.keys[newer], found.positions[newer], found.view.ids.ids, most)]
    missed = rows[size:]
    return np.concatenate([fresh, missed[~np.isin(missed, fresh)]])[:most]
