"""Collaborative factors by implicit alternating least squares, folded in from histories.

The loss is that of Rendle et al., *Revisiting the performance of iALS* (https://arxiv.org/abs/2110.14037): observed
pairs weigh 1 with target 1, all pairs weigh `alpha` with target 0, and regularisation grows with frequency,
λ(n) = regularization · (n + alpha · size)^nu. A user with item rows V and weights C has the vector

    u = (alpha · VallᵀVall + VᵀCV + λ(n) I)⁻¹ VᵀC y,      y = 1 for liked, 0 for disliked items.

Item vectors are stored rotated, so that VallᵀVall is the diagonal `gram`: then a history of n < factors entries needs
one n x n solve (Woodbury) instead of a factors x factors one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.recommender import Progress, Recommender, Tower
from app.models.base import Array, Floats, as_parameters, parse, positives, take_floats
from app.models.cold_items import ColdItems
from app.models.engines import FactorParameters, factorize

_WEIGHT_FLOOR, _WEIGHT_CEILING = 0.05, 20.0
"""Confidences outside this range, relative to the mean, make the solve ill-conditioned without ranking better."""


class FactorRecommender(Recommender, Tower):
    """iALS as a tower: `item_vectors` and a fold-in by NumPy."""

    def __init__(self, name: str, parameters: FactorParameters) -> None:
        self.name = name
        self._parameters = parameters
        self._vectors: Floats = np.zeros((0, 0), dtype=np.float32)
        self._gram: NDArray[np.float64] = np.zeros(0)
        self._mean_weight = 1.0
        self._n_trained = 0
        self._cold = ColdItems.nothing()

    @classmethod
    def build(cls, name: str, parameters: Mapping[str, object]) -> FactorRecommender:
        """Unfitted, from JSON parameters."""
        return cls(name, parse(FactorParameters, parameters))

    @classmethod
    def restore(cls, name: str, parameters: Mapping[str, object], arrays: Mapping[str, Array]) -> FactorRecommender:
        """Fitted, from its arrays."""
        restored = cls.build(name, parameters)
        restored._vectors = take_floats(arrays, "vectors", None, None)
        factors = restored._vectors.shape[1]
        restored._gram = take_floats(arrays, "gram", factors).astype(np.float64)
        facts = take_floats(arrays, "facts", 2)
        restored._mean_weight, restored._n_trained = float(facts[0]), int(facts[1])
        restored._cold = ColdItems.restore(arrays, factors)
        return restored

    @property
    def n_items(self) -> int:
        return len(self._vectors)

    @property
    def item_vectors(self) -> Floats:
        return self._vectors

    def fit(self, dataset: Dataset, *, seed: int, progress: Progress) -> None:
        matrix = positives(dataset, flat=self._parameters.flat)
        matrix.data = np.clip(matrix.data, _WEIGHT_FLOOR, _WEIGHT_CEILING)
        liked = dataset.histories.weights[dataset.histories.weights > 0]
        self._mean_weight, self._n_trained = float(np.float32(liked.mean())), dataset.n_items
        vectors = factorize(matrix, self._parameters, seed=seed, progress=progress)
        gram, rotation = np.linalg.eigh(vectors.astype(np.float64).T @ vectors.astype(np.float64))
        self._vectors = np.ascontiguousarray(vectors @ rotation, dtype=np.float32)
        self._gram = np.maximum(gram, 0.0).astype(np.float32).astype(np.float64)
        counts = np.asarray((matrix > 0).sum(axis=0), dtype=np.float64).ravel()
        self._cold = ColdItems.learn(dataset, self._vectors, counts, self._parameters.cold_regularization)
        without = np.flatnonzero(counts == 0)
        if dataset.item_features is not None and len(without):
            self._vectors[without] = self._cold.vectors(dataset.item_features.matrix[without])
        progress(self.name, 1.0)

    def _ridge(self, n: int) -> NDArray[np.float64]:
        """(factors,) diagonal of alpha · VallᵀVall + λ(n) I."""
        p = self._parameters
        return np.asarray(p.alpha * self._gram + p.regularization * (n + p.alpha * self._n_trained) ** p.nu)

    def _evidence(self, history: Histories) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """(rows (n, factors), confidences (n,), targets (n,)) of one history; entries that say nothing weigh 0."""
        weights = history.weights.astype(np.float64) / self._mean_weight
        known = history.items < len(self._vectors)
        rows = self._vectors[np.where(known, history.items, 0)].astype(np.float64)
        strength = np.clip(np.abs(weights), _WEIGHT_FLOOR, _WEIGHT_CEILING)
        confidence = np.where(self._parameters.flat & (weights > 0), 1.0, strength) * (known & (weights != 0))
        return rows, confidence, (weights > 0).astype(np.float64)

    def fold_in(self, histories: Histories) -> Floats:
        users = np.zeros((len(histories), self._vectors.shape[1]), dtype=np.float32)
        for row in range(len(histories)):
            one = histories.rows(row, row + 1)
            if len(one.items):
                users[row] = self._solve(*self._evidence(one))
        return users

    def _solve(
        self, rows: NDArray[np.float64], confidence: NDArray[np.float64], target: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        told = confidence > 0
        rows, confidence, target = rows[told], confidence[told], target[told]
        diagonal = self._ridge(len(rows))
        if len(rows) < len(diagonal):
            kernel = (rows / diagonal) @ rows.T
            kernel[np.diag_indices_from(kernel)] += 1.0 / confidence
            alpha = scipy.linalg.solve(kernel, target, assume_a="pos", check_finite=False)
            return np.asarray(rows.T @ alpha / diagonal)
        system = (rows.T * confidence) @ rows
        system[np.diag_indices_from(system)] += diagonal
        right = rows.T @ (confidence * target)
        return np.asarray(scipy.linalg.solve(system, right, assume_a="pos", check_finite=False))

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        vectors = self._vectors if items is None else self._vectors[items]
        return np.asarray(self.fold_in(histories) @ vectors.T, dtype=np.float32)

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        """What the score loses when the entry is taken away; the last row is what the entries carry only together.

        Taking entry j away is a rank-one change of the system (Sherman-Morrison), solved for all j at once.
        """
        rows, confidence, target = self._evidence(history)
        targets = self._vectors[items].astype(np.float64)
        whole = self._solve(rows, confidence, target) @ targets.T
        told = confidence > 0
        parts = np.zeros((len(rows) + 1, len(items)))
        if told.any():
            parts[:-1][told] = whole - self._without_each(rows[told], confidence[told], target[told]) @ targets.T
        parts[-1] = whole - parts[:-1].sum(axis=0)
        return parts.astype(np.float32)

    def _without_each(
        self, rows: NDArray[np.float64], confidence: NDArray[np.float64], target: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(n, factors): the user's vector without entry j, for every j."""
        system = (rows.T * confidence) @ rows
        system[np.diag_indices_from(system)] += self._ridge(len(rows) - 1)
        inverse = np.linalg.inv(system)
        right = rows.T @ (confidence * target)
        pulled = rows @ inverse
        leverage = np.einsum("ij,ij->i", pulled, rows) * confidence
        # A - c v vᵀ inverted: A⁻¹ + c A⁻¹v vᵀA⁻¹ / (1 - c vᵀA⁻¹v); the ridge keeps the leverage below 1.
        base = inverse @ right - (confidence * target)[:, None] * pulled
        correction = np.einsum("ij,ij->i", rows, base) * confidence / (1.0 - leverage)
        return np.asarray(base + correction[:, None] * pulled)

    def extended(self, features: sp.csr_matrix) -> FactorRecommender:
        wider = type(self)(self.name, self._parameters)
        wider._vectors = np.vstack([self._vectors, self._cold.vectors(features)])
        wider._gram, wider._mean_weight = self._gram, self._mean_weight
        wider._n_trained, wider._cold = self._n_trained, self._cold
        return wider

    def parameters(self) -> Mapping[str, object]:
        return as_parameters(self._parameters)

    def arrays(self) -> Mapping[str, Array]:
        return {
            "vectors": self._vectors,
            "gram": self._gram.astype(np.float32),
            "facts": np.array([self._mean_weight, self._n_trained], dtype=np.float32),
            **self._cold.arrays(),
        }
