"""The best unseen items of every user over the whole catalog, and which of them were right."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from app.domain.dataset import Histories
from app.domain.recommender import Scorer
from app.domain.threads import thread_limit as allowed_threads

_BATCH_CELLS = 8_000_000
"""Scores held at once by a thread: 32 MB of float32."""


def top_lists(
    recommender: Scorer,
    histories: Histories,
    depth: int,
    *,
    hidden: sp.csr_matrix | None = None,
    allowed: NDArray[np.bool_] | None = None,
    exclude_seen: bool = True,
) -> tuple[NDArray[np.int32], bool]:
    """((n, depth) int32 best unseen items, best first, -1 where there are no more; were all scores finite?).

    Ties go to the lower position. `hidden`: (n, n_items) pairs that are not listed either. `allowed`: (n_items,)
    restricts the catalog.
    """
    n_items = recommender.n_items
    depth = min(depth, n_items)
    lists = np.empty((len(histories), depth), dtype=np.int32)

    def rank(start: int, batch: Histories) -> bool:
        scores = recommender.score(batch)
        is_finite = bool(np.isfinite(scores).all())
        rows = np.repeat(np.arange(len(batch)), batch.lengths)
        if exclude_seen:
            scores[rows, batch.items] = -np.inf
        if hidden is not None:
            scores[hidden[start : start + len(batch)].nonzero()] = -np.inf
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        lists[start : start + len(batch)] = _best(scores, depth)
        return is_finite

    # A thread per batch and one BLAS thread each: small solves under a threaded BLAS take ten times as long.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(allowed_threads()) as pool:
        batches = histories.batches(max(1, _BATCH_CELLS // max(n_items, 1)))
        finite = all(list(pool.map(lambda one: rank(*one), batches)))
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
