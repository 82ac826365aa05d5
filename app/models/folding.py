"""User vectors from histories for weighted least squares: the normal equations, or their dual where that is smaller."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from app.domain.dataset import Histories
from app.models.base import Floats

Doubles = NDArray[np.float64]

_GROUP_CELLS = 4_000_000
"""Numbers gathered at once: 32 MB."""

_WEIGHT_FLOOR, _WEIGHT_CEILING = 0.05, 20.0
"""Confidences outside this range, relative to the mean, make the solve ill-conditioned without ranking better."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Histories without entries that say nothing. Entry k: item `items[k]` with `confidence[k]` > 0 and target 0 or 1.

    User i has the entries indptr[i]:indptr[i + 1].
    """

    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    confidence: Doubles
    target: Doubles
    told: NDArray[np.bool_]

    @classmethod
    def of(cls, histories: Histories, n_items: int, mean_weight: float, *, flat: bool) -> Evidence:
        """`told` marks the entries of the histories that are kept. `flat`: every like has confidence 1."""
        weights = histories.weights.astype(np.float64) / mean_weight
        told = (histories.items < n_items) & (weights != 0)
        strength = clipped(np.abs(weights))
        confidence = np.where(flat & (weights > 0), 1.0, strength)
        counts = np.concatenate([[0], np.cumsum(told)])
        return cls(
            counts[histories.indptr].astype(np.int64),
            histories.items[told],
            confidence[told],
            (weights[told] > 0).astype(np.float64),
            told,
        )


def clipped(weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Relative weights as confidences."""
    return np.asarray(np.clip(weights, _WEIGHT_FLOOR, _WEIGHT_CEILING))


@dataclass(frozen=True, slots=True)
class Ridge:
    """The part of the normal equations that does not come from the history: diagonal, as `gram` is rotated."""

    gram: Doubles
    alpha: float
    regularization: float
    nu: float
    n_trained: int

    def diagonal(self, n: int) -> Doubles:
        """(factors,) alpha · gram + λ(n), for a history of n entries."""
        strength = self.regularization * (n + self.alpha * self.n_trained) ** self.nu
        return np.asarray(self.alpha * self.gram + max(strength, 1e-9), dtype=np.float64)


def fold(evidence: Evidence, vectors: Floats, ridge: Ridge) -> Floats:
    """(n_users, factors) float32; zeros for users without evidence."""
    factors = vectors.shape[1]
    lengths = np.diff(evidence.indptr)
    users = np.zeros((len(lengths), factors), dtype=np.float32)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        if longest >= factors:
            for user in order[start:]:
                users[user] = _primal(evidence, vectors, ridge, int(user))
            break
        # Users of one length share a ridge, and their systems are solved together.
        stop = int(np.searchsorted(lengths[order], longest, side="right"))
        stop = min(stop, start + max(1, _GROUP_CELLS // (longest * factors)))
        users[order[start:stop]] = _dual(evidence, vectors, ridge, order[start:stop], longest)
        start = stop
    return users


def _dual(evidence: Evidence, vectors: Floats, ridge: Ridge, group: NDArray[np.int64], length: int) -> Doubles:
    """Woodbury: u = D⁻¹Vᵀ (C⁻¹ + V D⁻¹ Vᵀ)⁻¹ y, an n x n system for a history of n entries."""
    entries = evidence.indptr[group][:, None] + np.arange(length)
    rows = vectors[evidence.items[entries]].astype(np.float64)
    weighted = rows / ridge.diagonal(length)
    kernel = weighted @ rows.transpose(0, 2, 1)
    kernel[:, np.arange(length), np.arange(length)] += 1.0 / evidence.confidence[entries]
    solution = np.linalg.solve(kernel, evidence.target[entries][:, :, None])
    return np.asarray((weighted.transpose(0, 2, 1) @ solution)[:, :, 0])


def _primal(evidence: Evidence, vectors: Floats, ridge: Ridge, user: int) -> Doubles:
    entries = slice(int(evidence.indptr[user]), int(evidence.indptr[user + 1]))
    rows = vectors[evidence.items[entries]].astype(np.float64)
    confidence, target = evidence.confidence[entries], evidence.target[entries]
    system = (rows.T * confidence) @ rows
    system[np.diag_indices_from(system)] += ridge.diagonal(len(rows))
    factor = scipy.linalg.cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(scipy.linalg.cho_solve(factor, rows.T @ (confidence * target), check_finite=False))


def fold_without_each(evidence: Evidence, vectors: Floats, ridge: Ridge) -> Doubles:
    """(n, factors): the vector of one user without entry j, for every j.

    A - c v vᵀ inverted is A⁻¹ + c A⁻¹v vᵀA⁻¹ / (1 - c vᵀA⁻¹v) (Sherman-Morrison); the ridge keeps the divisor positive.
    """
    rows = vectors[evidence.items].astype(np.float64)
    confidence, target = evidence.confidence, evidence.target
    system = (rows.T * confidence) @ rows
    system[np.diag_indices_from(system)] += ridge.diagonal(len(rows) - 1)
    inverse = np.linalg.inv(system)
    pulled = rows @ inverse
    leverage = np.einsum("ij,ij->i", pulled, rows) * confidence
    base = inverse @ (rows.T @ (confidence * target)) - (confidence * target)[:, None] * pulled
    correction = np.einsum("ij,ij->i", rows, base) * confidence / (1.0 - leverage)
    return np.asarray(base + correction[:, None] * pulled)
