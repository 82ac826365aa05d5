"""The sums and solves behind the linear sequence recommender (sequence.py has the formulas)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.exceptions import NotEnoughDataError
from app.domain.recommender import ProgressCallback
from app.models.base import Floats, positives
from app.models.linalg import randomized_svd

_NEGLIGIBLE = 0.01
"""Steps whose decay has fallen below this are not followed further back."""

_MAX_LAG = 60

Decays = tuple[float, float]
_SAMPLED_STEPS = 200_000
"""Enough for the few hundred times a few hundred numbers of the reduced ridge."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Liked items of all users, oldest first within each: `user`, `item`, `time` (Unix seconds); `starts` per user."""

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    starts: NDArray[np.int64]
    time: NDArray[np.float64]

    @classmethod
    def of(cls, histories: Histories) -> Steps:
        """Raises NotEnoughDataError where nobody took two steps."""
        user = np.repeat(np.arange(len(histories)), histories.lengths)
        liked = histories.weights > 0
        order = np.arange(len(user))[::-1]
        order = order[liked[order]]
        order = order[np.argsort(user[order], kind="stable")]
        counts = np.bincount(user[order], minlength=len(histories))
        if not (counts > 1).any():
            raise NotEnoughDataError("no user has two liked items")
        starts = np.concatenate([[0], np.cumsum(counts)])
        return cls(
            user[order].astype(np.int64), histories.items[order].astype(np.int64), starts, histories.times[order]
        )

    def windows(self, length: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(first step, number of steps ≤ `length`) of windows after whose every step another one comes.

        Each step but a user's first is asked for once: a user's first window ends at a random place, the others follow.
        """
        asked = np.diff(self.starts) - 1
        begins, asked = self.starts[:-1][asked > 0], asked[asked > 0]
        cut = rng.integers(1, length + 1, len(asked))
        counts = 1 + np.maximum(0, -((cut - asked) // length))
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        cut, asked, begins = (np.repeat(one, counts) for one in (cut, asked, begins))
        first = np.where(number == 0, 0, cut + (number - 1) * length)
        return begins + first, np.minimum(cut + number * length, asked) - first

    def lags(self, gamma: float) -> int:
        """How many steps back still count."""
        if gamma <= 0.0:
            return 1
        return int(min(_MAX_LAG, 1 + np.log(_NEGLIGIBLE) / np.log(gamma)))

    def kernel(self, gamma: float, ahead: float) -> NDArray[np.float64]:
        """[lag - 1]: how much a step counts for one that comes `lag` later, as state before it or before one nearer.

        Σ_h ahead^h · gamma^(lag - 1 - h) over what is not negligible.
        """
        past = _powers(gamma, self.lags(gamma))
        return np.convolve(past, _powers(ahead, self.lags(ahead)))

    def last_states(self, gamma: float, n_items: int) -> sp.csr_matrix:
        """(n_users, n_items) CSR: the decayed state after each user's last step."""
        back = np.repeat(self.starts[1:], np.diff(self.starts)) - 1 - np.arange(len(self.item))
        kept = back < self.lags(gamma)
        data = np.power(gamma, back[kept].astype(np.float64)).astype(np.float32)
        shape = (len(self.starts) - 1, n_items)
        return sp.csr_matrix((data, (self.user[kept], self.item[kept])), shape=shape)


def _powers(base: float, n: int) -> NDArray[np.float64]:
    return np.power(base, np.arange(n, dtype=np.float64))  # 0⁰ = 1


def dense_weights(
    steps: Steps, n_items: int, decays: Decays, ahead: float, regularization: float, progress: ProgressCallback
) -> Floats:
    """(2, n_items, n_items) float32: the ridge's solution, a block per decay."""
    crosses = _summed(steps, n_items, [_powers(gamma, steps.lags(gamma)) for gamma in decays])
    progress("sequence", 0.2)
    system = _gram(steps, n_items, decays, crosses)
    system[np.diag_indices(len(system))] += np.float32(regularization)
    if ahead > 0.0:
        del crosses
        crosses = _summed(steps, n_items, [steps.kernel(gamma, ahead) for gamma in decays])
    right = np.concatenate(crosses)
    progress("sequence", 0.5)
    del crosses
    solution = _solve_in_place(system, right)
    return np.ascontiguousarray(solution.reshape(2, n_items, n_items), dtype=np.float32)


def _summed(steps: Steps, n_items: int, kernels: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float32]]:
    """Per kernel (n_items, n_items): Σ kernel[lag - 1] over all pairs of steps of one user, `lag` apart."""
    sums = [np.zeros((n_items, n_items), dtype=np.float32) for _ in kernels]
    for lag in range(1, max(map(len, kernels)) + 1):
        same = steps.user[lag:] == steps.user[:-lag]
        cell = (steps.item[:-lag] * n_items + steps.item[lag:])[same]
        for one, kernel in zip(sums, kernels, strict=True):
            if lag <= len(kernel) and kernel[lag - 1] > 0.0:
                np.add.at(one.reshape(-1), cell, np.float32(kernel[lag - 1]))
    return sums


def _gram(steps: Steps, n_items: int, decays: Decays, crosses: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(2·n_items, 2·n_items) Σ x xᵀ over all states from which a next step was taken."""
    last = [steps.last_states(gamma, n_items) for gamma in decays]
    counts = np.bincount(steps.item, minlength=n_items).astype(np.float32)
    system = np.empty((2 * n_items, 2 * n_items), dtype=np.float32)
    for row, a in enumerate(decays):
        for column, b in enumerate(decays):
            ends = np.asarray((last[row].T @ last[column]).todense(), dtype=np.float32)
            block = np.float32(a) * crosses[row] + np.float32(b) * crosses[column].T
            block[np.diag_indices(n_items)] += counts
            # The recursion sums all states; the last state of a user leads nowhere and is taken out.
            block = (block - np.float32(a * b) * ends) / np.float32(1.0 - a * b) - ends
            system[row * n_items : (row + 1) * n_items, column * n_items : (column + 1) * n_items] = block
    return system


def _solve_in_place(system: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cholesky; where rounding and the cut-off lags leave it indefinite, with ten times the ridge again."""
    ridge = np.float32(np.abs(np.diag(system)).mean() * 1e-3)
    for _ in range(8):
        try:
            factor = scipy.linalg.cho_factor(system, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            system[np.diag_indices(len(system))] += ridge
            ridge *= np.float32(10.0)
            continue
        return np.asarray(scipy.linalg.cho_solve(factor, right, overwrite_b=True, check_finite=False))
    raise NotEnoughDataError("the transitions do not determine a sequence model")


def low_rank_weights(
    steps: Steps,
    dataset: Dataset,
    decays: Decays,
    ahead: float,
    regularization: float,
    factors: int,
    *,
    seed: int,
    progress: ProgressCallback,
) -> tuple[Floats, Floats]:
    """(item vectors (n_items, factors), reading (2, n_items, factors)) of the ridge between singular vectors."""
    vectors = singular_vectors(dataset, factors, seed)
    progress("sequence", 0.5)
    targets = _sampled_targets(steps)
    states = np.concatenate([_decayed(steps, targets, -1, gamma, vectors) for gamma in decays], axis=1)
    system = (states.T @ states).astype(np.float64)
    # The ridge is given per full data set: a sample needs its share.
    share = len(targets) / max(len(steps.item), 1)
    scale = np.trace(system) / max(len(system), 1)
    system[np.diag_indices(len(system))] += max(regularization * share * 1e-3 * scale, 1e-9)
    right = (states.T @ _decayed(steps, targets, +1, ahead, vectors)).astype(np.float64)
    mixing = scipy.linalg.solve(system, right, assume_a="pos", check_finite=False).astype(np.float32)
    width = vectors.shape[1]
    reading = np.stack([vectors @ mixing[:width], vectors @ mixing[width:]])
    return vectors, np.ascontiguousarray(reading, dtype=np.float32)


def singular_vectors(dataset: Dataset, factors: int, seed: int) -> Floats:
    """(n_items, ≤ factors) right singular vectors of the interactions, users and items damped by their degrees."""
    liked = positives(dataset, flat=True)
    lengths = np.maximum(np.diff(liked.indptr), 1).astype(np.float64)
    counts = np.maximum(np.bincount(liked.indices, minlength=liked.shape[1]), 1).astype(np.float64)
    damped = sp.diags(lengths**-0.5) @ liked @ sp.diags(counts**-0.25)
    return randomized_svd(sp.csr_matrix(damped, dtype=np.float32), factors, seed=seed)[1]


def _sampled_targets(steps: Steps) -> NDArray[np.int64]:
    """Positions of steps that have one before them, at most 200,000 at even distances."""
    first = np.zeros(len(steps.item), dtype=bool)
    first[steps.starts[:-1][np.diff(steps.starts) > 0]] = True
    targets = np.flatnonzero(~first)
    if len(targets) <= _SAMPLED_STEPS:
        return targets
    return targets[np.linspace(0, len(targets) - 1, _SAMPLED_STEPS).astype(np.int64)]


def _decayed(steps: Steps, targets: NDArray[np.int64], way: int, gamma: float, vectors: Floats) -> Floats:
    """(len(targets), factors), in the reduced space: the decayed steps before each target (way -1), or from it on."""
    rows, items, data = [], [], []
    for lag in range(steps.lags(gamma)):
        places = targets + way * lag + min(way, 0)
        inside = np.clip(places, 0, len(steps.item) - 1)
        kept = (inside == places) & (steps.user[inside] == steps.user[targets])
        rows.append(np.flatnonzero(kept))
        items.append(steps.item[places[kept]])
        data.append(np.full(int(kept.sum()), gamma**lag, dtype=np.float32))
    shape = (len(targets), len(vectors))
    state = sp.csr_matrix((np.concatenate(data), (np.concatenate(rows), np.concatenate(items))), shape=shape)
    return np.asarray(state @ vectors, dtype=np.float32)
