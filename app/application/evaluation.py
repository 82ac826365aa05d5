"""Judging a recommender on held-out events: full ranking, training items excluded, no sampled negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain import metrics
from app.domain.dataset import Dataset, Histories
from app.domain.exceptions import NotEnoughDataError
from app.domain.features import encode_users
from app.domain.models import KINDS, EventColumns, Kind, User
from app.domain.recommender import Progress, Scorer

DEFAULT_METRICS = (
    *("ndcg@10", "recall@10", "precision@10", "f1@10", "map@10", "mrr@10", "hr@10"),
    *("ndcg@20", "recall@20"),
)
_BATCH_CELLS = 8_000_000
"""Scores held at once: 32 MB of float32."""

_LIGHT, _HEAVY = 10, 100
_DIVERSITY_USERS = 500
_ANCHORS = 256


@dataclass(frozen=True, slots=True)
class HoldOut:
    """Who is asked and what would have been right.

    `histories`: what is known of each of `users` before the test (row i belongs to users[i]; empty for new users).
    `relevant`: (n_users, n_items) bool CSR of the test items the training set knows and the user has not seen there.
    `unrankable`: (n_users,) test items nobody can find, as the training set does not have them: misses for everyone.
    """

    users: tuple[str, ...]
    histories: Histories
    relevant: sp.csr_matrix
    unrankable: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)

    @property
    def n_relevant(self) -> NDArray[np.int64]:
        """(n_users,) all test items of each user, rankable or not."""
        return np.asarray(np.diff(self.relevant.indptr) + self.unrankable, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one recommender scored on one hold-out. `per_user` arrays are float32, row i belongs to users[i]."""

    name: str
    users: tuple[str, ...]
    per_user: Mapping[str, NDArray[np.float32]]
    intervals: Mapping[str, tuple[float, float]]
    slices: Mapping[str, NDArray[np.bool_]]
    slice_means: Mapping[str, Mapping[str, float]]
    coverage: float
    lists: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def mean(self, metric: str) -> float:
        """The mean over users; 0 without users."""
        values = self.per_user[metric]
        return float(values.mean(dtype=np.float64)) if len(values) else 0.0

    def summary(self) -> dict[str, object]:
        """Everything but the per-user values, JSON-serialisable."""
        return {
            "recommender": self.name,
            "users": len(self.users),
            "metrics": {
                name: {"mean": self.mean(name), "low": self.intervals[name][0], "high": self.intervals[name][1]}
                for name in self.per_user
            },
            "coverage": self.coverage,
            "lists": dict(self.lists),
            "slices": {
                name: {"users": int(self.slices[name].sum()) if name in self.slices else 0, **means}
                for name, means in self.slice_means.items()
            },
            "problems": list(self.problems),
        }


def hold_out(train: Dataset, test: EventColumns, users: Sequence[User] = ()) -> HoldOut:
    """The hold-out of these test events for a training set. `users` are the profiles of test users, where known.

    A test item is relevant unless the user disliked it (a dislike, a rating below 2.5, a removal from the watchlist)
    or has it in the training set already. Raises NotEnoughDataError if nothing is left.
    """
    liked = _liked(test)
    user, item = test.user[liked], test.item[liked]
    pairs = np.unique(np.stack([user, item]), axis=1) if len(user) else np.zeros((2, 0), dtype=np.int32)
    ids = [test.user_ids[position] for position in np.unique(pairs[0]).tolist()]
    row_of = {int(position): row for row, position in enumerate(np.unique(pairs[0]).tolist())}
    rows = np.array([row_of[int(position)] for position in pairs[0]], dtype=np.int64)
    columns = _positions(train, test.item_ids)[pairs[1]]
    histories = _histories_of(train, ids, users)
    relevant, unrankable = _relevant(rows, columns, histories, train.n_items)
    asked = (np.diff(relevant.indptr) + unrankable) > 0
    if not asked.any():
        raise NotEnoughDataError("the test has no positive interactions with items not seen before")
    kept = np.flatnonzero(asked)
    return HoldOut(
        tuple(ids[row] for row in kept.tolist()), take_rows(histories, kept), relevant[kept], unrankable[kept]
    )


def _liked(test: EventColumns) -> NDArray[np.bool_]:
    kind = test.kind.astype(np.int64)
    removed = (kind == KINDS.index(Kind.WATCHLIST)) & (test.value <= 0)
    low = (kind == KINDS.index(Kind.RATING)) & (test.value < 2.5)
    return np.asarray((kind != KINDS.index(Kind.DISLIKE)) & ~removed & ~low, dtype=np.bool_)


def _positions(train: Dataset, item_ids: Sequence[str]) -> NDArray[np.int64]:
    known = (train.items.position(item_id) for item_id in item_ids)
    return np.array([-1 if position is None else position for position in known], dtype=np.int64)


def _histories_of(train: Dataset, ids: Sequence[str], users: Sequence[User]) -> Histories:
    """Training histories of these users, empty for new ones; profiles from the training set or from `users`."""
    positions = [train.users.position(user_id) for user_id in ids]
    base = train.histories
    with_empty = replace(base, indptr=np.append(base.indptr, base.indptr[-1]), profiles=None)
    rows = np.array([len(base) if position is None else position for position in positions], dtype=np.int64)
    histories = take_rows(with_empty, rows)
    if train.user_features is None:
        return histories
    profiles = {user.user_id: user for user in users}
    names = train.user_features.names
    new = encode_users([profiles.get(user_id) for user_id in ids], names)
    old = sp.vstack([train.user_features.matrix, sp.csr_matrix((1, len(names)), dtype=np.float32)]).tocsr()[rows]
    fresh = sp.diags((rows == len(base)).astype(np.float32)) @ new
    return replace(histories, profiles=sp.csr_matrix(old + fresh))


def _relevant(
    rows: NDArray[np.int64], columns: NDArray[np.int64], histories: Histories, n_items: int
) -> tuple[sp.csr_matrix, NDArray[np.int64]]:
    unrankable = np.bincount(rows[columns < 0], minlength=len(histories)).astype(np.int64)
    rows, columns = rows[columns >= 0], columns[columns >= 0]
    shape = (len(histories), n_items)
    test = sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
    seen = histories.matrix(n_items)
    seen.data = np.ones_like(seen.data)
    left = sp.csr_matrix(test - test.multiply(seen))
    left.eliminate_zeros()
    left.sort_indices()
    return left.astype(bool), unrankable


def take_rows(histories: Histories, rows: NDArray[np.integer]) -> Histories:
    """The histories of these rows, in this order."""
    lengths = histories.lengths[rows]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    take = np.repeat(histories.indptr[rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
    return Histories(
        indptr,
        histories.items[take],
        histories.weights[take],
        histories.times[take],
        histories.now,
        None if histories.profiles is None else histories.profiles[rows],
    )


def top_lists(
    recommender: Scorer,
    histories: Histories,
    depth: int,
    *,
    hidden: sp.csr_matrix | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int32], bool]:
    """((n, depth) int32 best unseen items, best first, -1 where there are no more; were all scores finite?).

    Ties go to the lower position. `hidden`: (n, n_items) pairs that are not listed either. `allowed`: (n_items,)
    restricts the catalogue.
    """
    n_items = recommender.n_items
    depth = min(depth, n_items)
    lists = np.empty((len(histories), depth), dtype=np.int32)
    finite = True
    for start, batch in histories.batches(max(1, _BATCH_CELLS // max(n_items, 1))):
        scores = recommender.score(batch)
        finite = finite and bool(np.isfinite(scores).all())
        rows = np.repeat(np.arange(len(batch)), batch.lengths)
        scores[rows, batch.items] = -np.inf
        if hidden is not None:
            scores[hidden[start : start + len(batch)].nonzero()] = -np.inf
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        lists[start : start + len(batch)] = _best(scores, depth)
    return lists, finite


def _best(scores: NDArray[np.float32], depth: int) -> NDArray[np.int32]:
    """Column positions of the `depth` highest scores per row, best first, ties by position; -1 for -inf."""
    n_items = scores.shape[1]
    top = np.argpartition(-scores, depth - 1, axis=1)[:, :depth] if depth < n_items else None
    if top is None:
        top = np.tile(np.arange(n_items), (len(scores), 1))
    top.sort(axis=1)
    values = np.take_along_axis(scores, top, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.take_along_axis(top, order, axis=1).astype(np.int32)
    best[~np.isfinite(np.take_along_axis(values, order, axis=1))] = -1
    return best


def hits_of(lists: NDArray[np.int32], relevant: sp.csr_matrix) -> NDArray[np.bool_]:
    """(n_users, depth) bool: is the item at this rank relevant?"""
    n_items = relevant.shape[1]
    rows = np.arange(len(lists), dtype=np.int64)[:, None]
    right = np.repeat(rows[:, 0], np.diff(relevant.indptr)) * n_items + relevant.indices
    asked = rows * n_items + lists
    return np.isin(asked, right) & (lists >= 0)


def evaluate(
    recommender: Scorer,
    train: Dataset,
    hold_out: HoldOut,
    *,
    seed: int,
    progress: Progress,
    names: Sequence[str] = DEFAULT_METRICS,
) -> Evaluation:
    """Rank the whole catalogue for every user of the hold-out and measure. Deterministic for a seed."""
    depth = max(metrics.parse(name)[1] for name in names)
    lists, finite = top_lists(recommender, hold_out.histories, depth)
    progress("ranking", 0.7)
    hits = hits_of(lists, hold_out.relevant)
    per_user = metrics.compute(hits, hold_out.n_relevant, names)
    slices = user_slices(hold_out)
    shown = np.bincount(lists[:, :10][lists[:, :10] >= 0], minlength=recommender.n_items)
    evaluation = Evaluation(
        recommender.name,
        hold_out.users,
        per_user,
        {name: metrics.bootstrap_interval(values, seed=seed) for name, values in per_user.items()},
        slices,
        {name: {m: float(v[members].mean()) for m, v in per_user.items()} for name, members in slices.items()},
        float((shown > 0).mean()) if len(shown) else 0.0,
        {"gini@10": metrics.gini(shown)},
        () if finite else ("its scores are not all finite",),
    )
    progress("ranking", 1.0)
    return evaluation


def user_slices(hold_out: HoldOut) -> dict[str, NDArray[np.bool_]]:
    """Slices of users that have members: new (no history), light (1–10 entries), medium, heavy (100 and more)."""
    lengths = hold_out.histories.lengths
    slices = {
        "new users": lengths == 0,
        "light users": (lengths > 0) & (lengths <= _LIGHT),
        "medium users": (lengths > _LIGHT) & (lengths < _HEAVY),
        "heavy users": lengths >= _HEAVY,
    }
    return {name: members for name, members in slices.items() if members.any()}
