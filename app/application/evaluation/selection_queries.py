"""What selection asks its candidates: known users at the end of their histories, newcomers at the beginning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.application.evaluation.blending import RankingQuery, stacked
from app.application.evaluation.hold_out import take_rows
from app.application.evaluation.new_items import NewItems, evenly, hidden_items
from app.domain.dataset import Dataset, Histories
from app.domain.splits import (
    Cut,
    entry_ages,
    has_informative_timestamps,
    has_shared_clock,
    keep_entries,
    shuffled,
    truncated,
    validation_cut,
    window_cut,
)

KNOTS = (0, 1, 3, 10)
"""History lengths at which a blend has weights of its own, below those of whole histories."""

_LATEST_SHARE, _LATEST_AT_LEAST = 0.3, 200

_WINDOWS = (0.1, 0.2, 0.3)
"""Shares of the newest events to ask for; the least with _RETURNING users who have a past and a future."""

_RETURNING, _ARRIVED = 50, 20
_NEWCOMERS, _NEWCOMER_SHARE, _ENOUGH_USERS = 500, 10, 100
_WANTED = 20
"""How many of a newcomer's next likes count as right."""


@dataclass(frozen=True, slots=True)
class SelectionQueries:
    """`train`: what candidates are fitted on. `whole`: known users. `short`: by history length, in rising order.

    `by_time`: times tell the order of a user's events. `has_clock`: they are moments, the same for all users.
    """

    train: Dataset
    whole: RankingQuery
    short: Mapping[int, RankingQuery]
    by_time: bool
    has_clock: bool
    new_items: NewItems | None = None

    @property
    def length(self) -> int:
        """From this history length on the weights of whole histories hold: that of the shortest tenth."""
        shortest = int(np.quantile(self.whole.histories.lengths, 0.1)) if len(self.whole.histories) else 0
        return max(shortest, 1 + max(self.short, default=-1))


def selection_queries(dataset: Dataset, seed: int) -> SelectionQueries | None:
    """None where no user has two likes."""
    asked = _by_window(dataset, seed) if has_shared_clock(dataset.histories) else None
    asked = _by_user(dataset, seed) if asked is None else asked
    return None if asked is None else replace(asked, new_items=hidden_items(asked.train, asked.whole, seed))


def _by_window(dataset: Dataset, seed: int) -> SelectionQueries | None:
    """What will be asked of a model that is trained at one moment; None where too few users come back after it."""
    cut = next((cut for cut in map(partial(window_cut, dataset), _WINDOWS) if len(_returning(cut)) >= _RETURNING), None)
    if cut is None:
        return None
    frozen = _question(cut, _returning(cut), seed)
    fresh = _fresh(dataset, cut) if cut.by_time else None
    whole = frozen if fresh is None else stacked(frozen, fresh)
    arrived = np.flatnonzero((cut.train.histories.lengths == 0) & (dataset.histories.lengths > 1))
    newcomers = arrived if len(arrived) >= _ARRIVED else arrived[:0]
    return SelectionQueries(
        cut.train, whole, _short(dataset, newcomers, whole, seed, by_time=cut.by_time), cut.by_time, True
    )


def _returning(cut: Cut) -> NDArray[np.int64]:
    return np.flatnonzero((cut.train.histories.lengths > 0) & (cut.targets.lengths > 0))


def _by_user(dataset: Dataset, seed: int) -> SelectionQueries | None:
    """Each user's newest likes (random ones where times do not tell), wherever in the window they lie."""
    newcomers, has_clock = _newcomers(dataset, seed), has_shared_clock(dataset.histories)
    is_new = np.zeros(dataset.n_users, dtype=bool)
    is_new[newcomers] = True
    rows = np.repeat(np.arange(dataset.n_users), dataset.histories.lengths)
    rest = replace(dataset, histories=keep_entries(dataset.histories, ~is_new[rows]))
    cut = validation_cut(rest, seed=seed)
    asked = np.flatnonzero(cut.targets.lengths > 0)
    if not len(asked):
        return None
    if cut.by_time and has_clock:
        # Requests come now: what is in fashion can only be judged on targets close to the end of the window.
        latest = cut.targets.times[cut.targets.indptr[:-1][asked]]
        kept = max(_LATEST_AT_LEAST, int(_LATEST_SHARE * len(asked)))
        asked = np.sort(asked[np.argsort(-latest, kind="stable")[:kept]])
    whole = _question(cut, asked, seed)
    return SelectionQueries(
        cut.train, whole, _short(dataset, newcomers, whole, seed, by_time=cut.by_time), cut.by_time, has_clock
    )


def _question(cut: Cut, asked: NDArray[np.int64], seed: int) -> RankingQuery:
    """What is held out of these users, or of so many of them that a trial takes seconds."""
    n_items = cut.train.n_items
    rows = _judges(cut, asked)
    histories = take_rows(cut.train.histories, rows)
    if not cut.by_time:
        histories = shuffled(histories, seed)
    relevant = take_rows(cut.targets, rows).matrix(n_items).astype(bool)
    return RankingQuery(histories, histories.matrix(n_items), relevant)


def _judges(cut: Cut, asked: NDArray[np.int64]) -> NDArray[np.int64]:
    return evenly(asked, n_items=cut.train.n_items, targets=float(cut.targets.lengths[asked].mean()))


def _fresh(dataset: Dataset, cut: Cut) -> RankingQuery | None:
    """The same users just before their newest like: lists follow events, they do not wait for the next training.

    Those with several events since the moment, for whom this is another question; None without any.
    """
    rows = _judges(cut, _returning(cut))
    rows = rows[(dataset.histories.lengths - cut.train.histories.lengths)[rows] > 1]
    if not len(rows):
        return None
    everything = take_rows(dataset.histories, rows)
    row = np.repeat(np.arange(len(rows)), everything.lengths)
    liked = np.flatnonzero(everything.weights > 0)
    newest = liked[np.unique(row[liked], return_index=True)[1]]  # histories are newest first
    is_newest = np.zeros(len(row), dtype=bool)
    is_newest[newest] = True
    place = np.full(len(rows), -1)
    place[row[newest]] = newest
    shown = keep_entries(everything, np.arange(len(row)) > place[row])
    relevant = keep_entries(everything, is_newest).matrix(dataset.n_items).astype(bool)
    return RankingQuery(shown, shown.matrix(dataset.n_items), relevant)


def _newcomers(dataset: Dataset, seed: int) -> NDArray[np.int64]:
    """Users that no candidate is fitted on: the latest to arrive where time runs for all alike, else random ones."""
    histories = dataset.histories
    able = np.flatnonzero(histories.lengths > 1)
    if len(able) < _ENOUGH_USERS:
        return np.empty(0, dtype=np.int64)
    count = min(_NEWCOMERS, len(able) // _NEWCOMER_SHARE)
    if has_informative_timestamps(histories) and has_shared_clock(histories):
        arrived = histories.times[histories.indptr[1:][able] - 1]
        return np.sort(able[np.argsort(-arrived, kind="stable")[:count]])
    return np.sort(np.random.default_rng(seed).permutation(able)[:count])


def _short(
    dataset: Dataset, newcomers: NDArray[np.int64], whole: RankingQuery, seed: int, *, by_time: bool
) -> dict[int, RankingQuery]:
    """Newcomers at their first entries; without enough of them, known users whose histories are cut short."""
    shortest = int(np.quantile(whole.histories.lengths, 0.1))
    knots = [knot for knot in KNOTS if knot < shortest / 1.5 or knot == 0]
    if not len(newcomers):
        return {knot: RankingQuery(truncated(whole.histories, knot), whole.hidden, whole.relevant) for knot in knots}
    everything = take_rows(dataset.histories, evenly(newcomers, n_items=dataset.n_items))
    if not by_time:
        everything = shuffled(everything, seed)
    return {knot: question for knot in knots if (question := _beginning(everything, knot, dataset.n_items)) is not None}


def _beginning(everything: Histories, length: int, n_items: int) -> RankingQuery | None:
    """The first `length` entries shown, the next likes asked for."""
    age = entry_ages(everything)
    next_likes = (age >= length) & (age < length + _WANTED) & (everything.weights > 0)
    targets = keep_entries(everything, next_likes)
    asked = np.flatnonzero(targets.lengths > 0)
    if not len(asked):
        return None
    shown = take_rows(keep_entries(everything, age < length), asked)
    nothing = sp.csr_matrix((len(asked), n_items), dtype=np.float32)
    return RankingQuery(shown, nothing, take_rows(targets, asked).matrix(n_items).astype(bool))
