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
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.recommender import PlacesNew, ProgressCallback, Recommender, Tower
from app.models.base import Array, Floats, as_parameters, parse_parameters, positives, take_floats
from app.models.cold_items import ColdItems
from app.models.engines import FactorParameters, factorize
from app.models.folding import Evidence, Ridge, clipped, fold, fold_without_each

_ENGINE_OF: Mapping[str, Mapping[str, object]] = {"als": {"engine": "implicit"}, "bpr": {"engine": "implicit-bpr"}}


class FactorRecommender(Recommender, Tower, PlacesNew):
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
        return cls(name, parse_parameters(FactorParameters, parameters))

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

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        matrix = positives(dataset, flat=self._parameters.flat)
        matrix.data = clipped(matrix.data).astype(np.float32)
        liked = dataset.histories.weights[dataset.histories.weights > 0]
        self._mean_weight, self._n_trained = float(np.float32(liked.mean())), dataset.n_items
        vectors = factorize(matrix, self._parameters, seed=seed, progress=progress)
        gram, rotation = np.linalg.eigh(vectors.astype(np.float64).T @ vectors.astype(np.float64))
        self._vectors = np.ascontiguousarray(vectors @ rotation, dtype=np.float32)
        self._gram = np.maximum(gram, 0.0).astype(np.float32).astype(np.float64)
        self._place(dataset, np.asarray((matrix > 0).sum(axis=0)).ravel() == 0)
        progress(self.name, 1.0)

    def _place(self, dataset: Dataset, without: NDArray[np.bool_]) -> None:
        """Learn where features put an item, and put those without likes there."""
        p = self._parameters
        self._cold = ColdItems.learn(dataset, self._vectors, ~without, p.cold_regularization)
        if dataset.item_features is not None and without.any():
            self._vectors[without] = self._cold.vectors(dataset.item_features.matrix[np.flatnonzero(without)])

    def as_new(self, dataset: Dataset, items: NDArray[np.bool_]) -> FactorRecommender:
        twin = self.extended(sp.csr_matrix((0, 0), dtype=np.float32))
        liked = np.bincount(dataset.histories.items[dataset.histories.weights > 0], minlength=dataset.n_items) > 0
        twin._place(dataset, items | ~liked)
        return twin

    def _ridge(self) -> Ridge:
        p = self._parameters
        return Ridge(self._gram, p.alpha, p.regularization, p.nu, self._n_trained)

    def _evidence(self, histories: Histories) -> Evidence:
        return Evidence.of(histories, self.n_items, self._mean_weight, flat=self._parameters.flat)

    def fold_in(self, histories: Histories) -> Floats:
        return fold(self._evidence(histories), self._vectors, self._ridge())

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        vectors = self._vectors if items is None else self._vectors[items]
        return np.asarray(self.fold_in(histories) @ vectors.T, dtype=np.float32)

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        """What the score loses when the entry is taken away; the last row is what the entries carry only together."""
        evidence, ridge = self._evidence(history), self._ridge()
        targets = self._vectors[items].astype(np.float64).T
        whole = (fold(evidence, self._vectors, ridge).astype(np.float64) @ targets)[0]
        parts = np.zeros((len(history.items) + 1, len(items)))
        if evidence.told.any():
            parts[:-1][evidence.told] = whole - fold_without_each(evidence, self._vectors, ridge) @ targets
        parts[-1] = whole - parts[:-1].sum(axis=0)
        return parts.astype(np.float32)

    def extended(self, features: sp.csr_matrix) -> FactorRecommender:
        wider = type(self)(self.name, self._parameters)
        new = self._cold.vectors(features) if features.shape[0] else self._vectors[:0]
        wider._vectors = np.vstack([self._vectors, new])
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
