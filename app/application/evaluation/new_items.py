"""What selection asks about items nobody has touched: some that people know are hidden, and must be found again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.application.evaluation.blending import RankingQuery
from app.application.evaluation.hold_out import take_rows
from app.domain.dataset import Dataset, Histories
from app.domain.splits import keep_entries

JUDGES, JUDGED_TARGETS = 1_500, 6_000
"""At least so many users are asked, and so many that they have this number of targets: one target each is noise."""

_CELLS = 60_000_000
"""At most so many scores per trial (users x items), so that a trial stays within seconds on large catalogs."""

_HIDDEN_SHARE, _FEWEST, _FEWEST_USERS = 0.2, 20, 20


@dataclass(frozen=True, slots=True)
class NewItems:
    """`items`: (n_items,) bool, hidden. `among`: they alone are ranked. `everything`: they among all others."""

    items: NDArray[np.bool_]
    among: RankingQuery
    everything: RankingQuery


def evenly(rows: NDArray[np.int64], *, n_items: int, targets: float = float(JUDGED_TARGETS)) -> NDArray[np.int64]:
    """So many of these users, at even distances, that their answers tell apart what differs.

    `targets`: how many right answers each has, on average.
    """
    wanted = int(np.clip(JUDGED_TARGETS / max(targets, 1.0), JUDGES, JUDGED_TARGETS))
    # With so much noise more judges are worth seconds on large catalogs too.
    limit = max(100, min(wanted, _CELLS * wanted // JUDGES // max(n_items, 1)))
    return rows if len(rows) <= limit else rows[np.linspace(0, len(rows) - 1, limit).astype(np.int64)]


def hidden_items(train: Dataset, whole: RankingQuery, seed: int) -> NewItems | None:
    """A fifth of the described and liked items, at random. None without features, or where too few can be asked."""
    if train.item_features is None:
        return None
    histories = train.histories
    liked = np.bincount(histories.items[histories.weights > 0], minlength=train.n_items) > 0
    able = np.flatnonzero(liked & (np.diff(train.item_features.matrix.indptr) > 0))
    hidden = np.zeros(train.n_items, dtype=bool)
    hidden[np.random.default_rng(seed).permutation(able)[: int(len(able) * _HIDDEN_SHARE)]] = True
    shown = _without(histories, hidden)
    targets = keep_entries(histories, hidden[histories.items] & (histories.weights > 0))
    asked = np.flatnonzero((shown.lengths > 0) & (targets.lengths > 0))
    if hidden.sum() < _FEWEST or len(asked) < _FEWEST_USERS:
        return None
    rows = evenly(asked, n_items=train.n_items, targets=float(targets.lengths[asked].mean()))
    right = take_rows(targets, rows).matrix(train.n_items).astype(bool)
    nothing = sp.csr_matrix(right.shape, dtype=np.float32)
    among = RankingQuery(take_rows(shown, rows), nothing, right, hidden)
    return NewItems(hidden, among, replace(whole, histories=_without(whole.histories, hidden)))


def _without(histories: Histories, hidden: NDArray[np.bool_]) -> Histories:
    return keep_entries(histories, ~hidden[histories.items])
