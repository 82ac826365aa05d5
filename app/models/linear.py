"""What linear recommenders share: score = input(history) · W, scaled by 1 / √(1 + Σ|input|).

The scale does not change a ranking; it lets a blend trust a long history more, without letting it drown the others.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Histories
from app.models.base import Floats, known

_NEGLIGIBLE = 1e-3
"""Entries that have faded below this share say nothing."""

_DISLIKE_LIMIT = 3.0
"""A dislike counts against its neighbours at most this many times a like."""


def inputs(histories: Histories, n_items: int, mean_weight: float) -> sp.csr_matrix:
    """(n, n_items) float32 CSR: 1 for a liked item, minus the relative weight for a disliked one."""
    matrix = known(histories, n_items)
    disliked = -np.minimum(-matrix.data / np.float32(mean_weight), np.float32(_DISLIKE_LIMIT))
    data = np.where(matrix.data > 0, np.float32(1.0), np.where(matrix.data < 0, disliked, np.float32(0.0)))
    return sp.csr_matrix((data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def scales(mass: NDArray[np.floating]) -> NDArray[np.floating]:
    """1 / √(1 + mass), of any shape."""
    return np.asarray(1.0 / np.sqrt(1.0 + np.maximum(mass, 0.0)))


def scaled(scores: Floats, weights: sp.csr_matrix) -> Floats:
    """Rows of `scores` times the scale of their inputs."""
    mass = np.asarray(abs(weights).sum(axis=1), dtype=np.float64).ravel()
    return np.asarray(scores * scales(mass).astype(np.float32)[:, None], dtype=np.float32)


def losses(single: NDArray[np.float64], entry_mass: NDArray[np.float64]) -> Floats:
    """(n + 1, k) contributions from unscaled ones (n, k): what the scaled score loses when an entry is taken away.

    The last row is what is left: the entries' common share of the change of scale.
    """
    total, mass = single.sum(axis=0), entry_mass.sum()
    whole = total * scales(mass)
    without = (total - single) * scales(mass - entry_mass)[:, None]
    return np.vstack([whole - without, whole - (whole - without).sum(axis=0)]).astype(np.float32)


def decayed(decay: float, rank: NDArray[np.integer]) -> NDArray[np.float64]:
    """decay to the power of the rank, 0 where it no longer matters (and 0⁰ = 1)."""
    factors = np.power(decay, rank.astype(np.float64))
    return np.where(factors >= _NEGLIGIBLE, factors, 0.0)


def losses_by_rank(entry: NDArray[np.float64], rows: NDArray[np.float64], decay: float) -> Floats:
    """(n + 1, k) as `losses`, of inputs (n,) that fade with their rank and rows (n, k): older ones move up."""
    if decay >= 1.0:
        return losses(entry[:, None] * rows, np.abs(entry))
    rank = np.arange(len(entry))
    now = entry * decayed(decay, rank)
    kept = entry * decayed(decay, rank[None, :] - (rank[None, :] > rank[:, None]))
    np.fill_diagonal(kept, 0.0)
    whole = (now @ rows) * scales(np.abs(now).sum())
    without = (kept @ rows) * scales(np.abs(kept).sum(axis=1))[:, None]
    return np.vstack([whole - without, whole - (whole - without).sum(axis=0)]).astype(np.float32)
