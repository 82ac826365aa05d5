"""Linear sequence: a ridge from the exponentially decayed recent history to the next items, in closed form.

For each decay γ the state after step t is x_t = e(item_t) + γ · x_{t-1}; all states stacked predict what comes next,
y_t = Σ_h ρ^h e(item_{t+1+h}): W = (Σ x xᵀ + λI)⁻¹ Σ x yᵀ. With a fast and a slow decay the last items and the long run
both speak; with ρ > 0 a list that misses the newest events is not far off. The moments on the left follow from the
cross moments P_γ = Σ_t x_{t-1} e_tᵀ alone, as Σ_t x_t^a (x_t^b)ᵀ obeys the recursion of its states:

    (1 - a·b) Σ x^a (x^b)ᵀ = diag(counts) + a·P_a + b·P_bᵀ - a·b Σ_users (last x^a)(last x^b)ᵀ

With `factors` > 0 items are first reduced to singular vectors, and the same ridge runs between those: a tower, for
catalogs whose square does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.exceptions import TrainingError
from app.domain.recommender import ProgressCallback, Recommender, Tower
from app.models.base import Array, Floats, as_parameters, parse_parameters, positives, take_floats
from app.models.linear import decayed, inputs
from app.models.sequence_moments import Steps, dense_weights, low_rank_weights

MAX_DENSE_ITEMS = 6_000
"""Two decays make a system of twice this size: 0.6 GB and half a minute."""


@dataclass(frozen=True, slots=True)
class SequenceParameters:
    """`fast`, `slow`: the two decays per step back; `ahead`: ρ. `factors` 0: item by item, without a reduction.

    On ML-1M (0.5, 0.95) finds the next item as well as (0, 0.9), and more where five events were missed; ρ = 0.5 finds
    7 % more of those, and 1 % less of the very next (ADR 0003).
    """

    fast: float = 0.5
    slow: float = 0.95
    ahead: float = 0.5
    regularization: float = 300.0
    factors: int = 0


class SequenceRecommender(Recommender):
    """Dense: `reading` is (2, n_items, n_items)."""

    def __init__(self, name: str, parameters: SequenceParameters) -> None:
        self.name = name
        self._parameters = parameters
        self._reading: Floats = np.zeros((2, 0, 0), dtype=np.float32)
        self._mean_weight = 1.0
        self._n_items = 0

    @classmethod
    def build(cls, name: str, parameters: Mapping[str, object]) -> SequenceRecommender:
        """Unfitted, from JSON parameters: a tower where there are factors."""
        parsed = parse_parameters(SequenceParameters, parameters)
        return SequenceTower(name, parsed) if parsed.factors > 0 else SequenceRecommender(name, parsed)

    @classmethod
    def restore(cls, name: str, parameters: Mapping[str, object], arrays: Mapping[str, Array]) -> SequenceRecommender:
        """Fitted, from its arrays."""
        restored = cls.build(name, parameters)
        restored._take(arrays)
        return restored

    def _take(self, arrays: Mapping[str, Array]) -> None:
        reading = take_floats(arrays, "reading", 2, None, None)
        facts = take_floats(arrays, "facts", 2)
        self._reading, self._mean_weight = reading, float(facts[0])
        self._n_items = reading.shape[1] + int(facts[1])

    @property
    def n_items(self) -> int:
        return self._n_items

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        if dataset.n_items > MAX_DENSE_ITEMS:
            raise TrainingError(f"more than {MAX_DENSE_ITEMS} items: set factors")
        p = self._parameters
        steps = self._steps(dataset)
        self._reading = dense_weights(steps, dataset.n_items, (p.fast, p.slow), p.ahead, p.regularization, progress)
        self._n_items = dataset.n_items
        progress(self.name, 1.0)

    def _steps(self, dataset: Dataset) -> Steps:
        positives(dataset, flat=True)
        weights = dataset.histories.weights
        self._mean_weight = float(np.float32(weights[weights > 0].mean()))
        return Steps.of(dataset.histories)

    def _states(self, histories: Histories) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """The decayed histories: two (n, n_trained) CSR."""
        n_trained = self._reading.shape[1]
        matrix = inputs(histories, n_trained, self._mean_weight)
        rank = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], np.diff(matrix.indptr))
        return self._faded(matrix, rank, self._parameters.fast), self._faded(matrix, rank, self._parameters.slow)

    @staticmethod
    def _faded(matrix: sp.csr_matrix, rank: NDArray[np.int64], gamma: float) -> sp.csr_matrix:
        data = (matrix.data * decayed(gamma, rank)).astype(np.float32)
        # A copy: dropping zeros works in place, and the other decay shares the indices.
        state = sp.csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape, copy=True)
        state.eliminate_zeros()
        return state

    def _read(self, histories: Histories) -> Floats:
        """(n, width): the decayed histories through `reading`."""
        fast, slow = self._states(histories)
        if len(histories) == 1:
            # A product with all rows of `reading` would touch n_items² numbers for a handful.
            read = fast.data @ self._reading[0][fast.indices] + slow.data @ self._reading[1][slow.indices]
            return np.asarray(read[None, :], dtype=np.float32)
        return np.asarray(fast @ self._reading[0] + slow @ self._reading[1], dtype=np.float32)

    def _write(self, read: Floats, items: NDArray[np.int32] | None) -> Floats:
        """Scores of the items asked for: new items, without a past, score 0."""
        width = read.shape[1]
        if items is None:
            new = np.zeros((len(read), self._n_items - width), dtype=np.float32)
            return np.concatenate([read, new], axis=1)
        return np.where(items < width, read[:, np.minimum(items, max(width - 1, 0))], np.float32(0.0))

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        return self._write(self._read(histories), items)

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        """What the score loses when the entry is taken away and the older ones move up; the last row is the rest."""
        n, n_trained = len(history.items), self._reading.shape[1]
        known = np.flatnonzero(history.items < n_trained)
        entry = inputs(history, n_trained, self._mean_weight).data.astype(np.float64)
        rank = np.arange(len(known))
        without = rank[None, :] - (rank[None, :] > rank[:, None])
        whole = np.zeros(len(items))
        left = np.zeros((len(known), len(items)))
        for block, gamma in enumerate((self._parameters.fast, self._parameters.slow)):
            rows = self._write(self._reading[block][history.items[known]], items).astype(np.float64)
            whole += (entry * decayed(gamma, rank)) @ rows
            kept = entry * decayed(gamma, without)
            np.fill_diagonal(kept, 0.0)
            left += kept @ rows
        parts = np.zeros((n + 1, len(items)))
        parts[known] = whole - left
        parts[-1] = whole - parts[:-1].sum(axis=0)
        return parts.astype(np.float32)

    def extended(self, features: sp.csr_matrix) -> SequenceRecommender:
        wider = type(self)(self.name, self._parameters)
        wider._reading, wider._mean_weight = self._reading, self._mean_weight
        wider._n_items = self._n_items + features.shape[0]
        return wider

    def parameters(self) -> Mapping[str, object]:
        return as_parameters(self._parameters)

    def arrays(self) -> Mapping[str, Array]:
        new = self._n_items - self._reading.shape[1]
        return {"reading": self._reading, "facts": np.array([self._mean_weight, new], dtype=np.float32)}


class SequenceTower(SequenceRecommender, Tower):
    """Reduced: `reading` is (2, n_items, factors), `item_vectors` (n_items, factors)."""

    def __init__(self, name: str, parameters: SequenceParameters) -> None:
        super().__init__(name, parameters)
        self._vectors: Floats = np.zeros((0, 0), dtype=np.float32)

    def _take(self, arrays: Mapping[str, Array]) -> None:
        super()._take(arrays)
        self._vectors = take_floats(arrays, "vectors", self._n_items, self._reading.shape[2])

    @property
    def item_vectors(self) -> Floats:
        return self._vectors

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        p = self._parameters
        steps = self._steps(dataset)
        self._vectors, self._reading = low_rank_weights(
            steps, dataset, (p.fast, p.slow), p.ahead, p.regularization, p.factors, seed=seed, progress=progress
        )
        self._n_items = dataset.n_items
        progress(self.name, 1.0)

    def fold_in(self, histories: Histories) -> Floats:
        return self._read(histories)

    def _write(self, read: Floats, items: NDArray[np.int32] | None) -> Floats:
        vectors = self._vectors if items is None else self._vectors[items]
        return np.asarray(read @ vectors.T, dtype=np.float32)

    def extended(self, features: sp.csr_matrix) -> SequenceTower:
        wider = type(self)(self.name, self._parameters)
        wider._reading, wider._mean_weight = self._reading, self._mean_weight
        nothing = np.zeros((features.shape[0], self._vectors.shape[1]), dtype=np.float32)
        wider._vectors = np.vstack([self._vectors, nothing])
        wider._n_items = len(wider._vectors)
        return wider

    def arrays(self) -> Mapping[str, Array]:
        return {**super().arrays(), "vectors": self._vectors}
