"""From scores to an order: pure functions on positions, scores and ids."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int32]
Scores = NDArray[np.float32]


def top_k(scores: Scores, positions: Positions, ids: Sequence[str], k: int) -> NDArray[np.intp]:
    """Where in `positions` the `k` best are, best first; equal scores in the order of their ids.

    `scores` (n,) and `positions` (n,) belong together; `ids[p]` is the id at position p. Fewer than k if n is less.
    """
    if k <= 0 or not len(scores):
        return np.empty(0, dtype=np.intp)
    if len(scores) <= k:
        return _ordered(np.arange(len(scores)), scores, positions, ids)
    # The k-th best score: everything above it is in, and of those equal to it as many as fit, by id.
    bound = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > bound)
    level = np.flatnonzero(scores == bound)
    room = k - len(above)
    if len(level) > room:
        level = np.array(heapq.nsmallest(room, level.tolist(), key=lambda row: ids[int(positions[row])]), dtype=np.intp)
    return _ordered(np.concatenate([above, level]), scores, positions, ids)


def _ordered(rows: NDArray[np.intp], scores: Scores, positions: Positions, ids: Sequence[str]) -> NDArray[np.intp]:
    names = [ids[position] for position in positions[rows].tolist()]
    by_score = sorted(zip((-scores[rows]).tolist(), names, rows.tolist(), strict=True))
    return np.array([row for _score, _name, row in by_score], dtype=np.intp)
