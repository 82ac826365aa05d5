"""The hold-out of test events for a training set: who is asked, and what would have been right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.entities import KINDS, EventColumns, Kind, User
from app.domain.exceptions import NotEnoughDataError
from app.domain.features import encode_users

SEEN = ("drop", "count-as-miss", "may-return")
"""What becomes of test pairs that the user has in the training set."""


@dataclass(frozen=True, slots=True)
class HoldOut:
    """Who is asked and what would have been right.

    `histories`: what is known of each of `users` before the test (row i belongs to users[i]; empty for new users).
    `relevant`: (n_users, n_items) bool CSR of the test items the training set knows and the user has not seen there.
    `unrankable`: (n_users,) test items nobody can find, as the training set does not have them: misses for everyone.
    `seen_pairs`: test pairs that the user has in the training set; `seen_users`: users left out as they have no others.
    `may_return`: seen items are ranked like all others.
    """

    users: tuple[str, ...]
    histories: Histories
    relevant: sp.csr_matrix
    unrankable: NDArray[np.int64]
    seen_pairs: int = 0
    seen_users: int = 0
    may_return: bool = False

    def __len__(self) -> int:
        return len(self.users)

    @property
    def n_relevant(self) -> NDArray[np.int64]:
        """(n_users,) all test items of each user, rankable or not."""
        return np.asarray(np.diff(self.relevant.indptr) + self.unrankable, dtype=np.int64)


def hold_out(train: Dataset, test: EventColumns, users: Sequence[User] = (), *, seen: str = SEEN[0]) -> HoldOut:
    """The hold-out of these test events for a training set. `users` are the profiles of test users, where known.

    A test item is relevant unless the user disliked it (a dislike, a rating below 2.5, a removal from the watchlist)
    or has it in the training set already. What becomes of such pairs is `seen`: left out (`drop`); misses, as in tables
    that mask seen items and count them (`count-as-miss`); or right answers as all others (`may-return`). Raises
    NotEnoughDataError if nothing is left.
    """
    liked = liked_events(test)
    user, item = test.user[liked], test.item[liked]
    pairs = np.unique(np.stack([user, item]), axis=1) if len(user) else np.zeros((2, 0), dtype=np.int32)
    ids = [test.user_ids[position] for position in np.unique(pairs[0]).tolist()]
    row_of = {int(position): row for row, position in enumerate(np.unique(pairs[0]).tolist())}
    rows = np.array([row_of[int(position)] for position in pairs[0]], dtype=np.int64)
    columns = _positions(train, test.item_ids)[pairs[1]]
    histories = _histories_of(train, ids, users)
    relevant, unrankable, known = _relevant(rows, columns, histories, train.n_items, keep_seen=seen == "may-return")
    if seen == "count-as-miss":
        unrankable = unrankable + known
    asked = (np.diff(relevant.indptr) + unrankable) > 0
    if not asked.any():
        raise NotEnoughDataError("the test has no positive interactions with items not seen before")
    kept = np.flatnonzero(asked)
    return HoldOut(
        tuple(ids[row] for row in kept.tolist()),
        take_rows(histories, kept),
        relevant[kept],
        unrankable[kept],
        int(known.sum()),
        int(len(asked) - asked.sum()),
        seen == "may-return",
    )


def liked_events(test: EventColumns) -> NDArray[np.bool_]:
    """(n,) what says nothing against its item: no dislike, no rating below 2.5, no removal from the watchlist."""
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
    rows: NDArray[np.int64], columns: NDArray[np.int64], histories: Histories, n_items: int, *, keep_seen: bool
) -> tuple[sp.csr_matrix, NDArray[np.int64], NDArray[np.int64]]:
    """(right answers, unrankable items per user, seen items per user)."""
    unrankable = np.bincount(rows[columns < 0], minlength=len(histories)).astype(np.int64)
    rows, columns = rows[columns >= 0], columns[columns >= 0]
    shape = (len(histories), n_items)
    test = sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
    seen = histories.matrix(n_items)
    seen.data = np.ones_like(seen.data)
    both = sp.csr_matrix(test.multiply(seen))
    left = test.copy() if keep_seen else sp.csr_matrix(test - both)
    left.eliminate_zeros()
    left.sort_indices()
    return left.astype(bool), unrankable, np.diff(both.indptr).astype(np.int64)


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
