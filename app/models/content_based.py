"""Content: TF-IDF of genres, tags, years and words; cosine to what was liked. Reduced by SVD to a tower, or as it is.

A user is the weighted sum of the unit vectors of the history over √(1 + Σ|weight|): the direction is what ranks, the
scale grows with how much is known, so that a blend trusts a long history more. With `factors` 0 nothing is reduced:
where tags are many and rare, each of them is a direction of its own, and a few hundred dimensions blur them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Features, Histories
from app.domain.exceptions import NotEnoughDataError
from app.domain.recommender import PlacesNew, ProgressCallback, Recommender, Tower
from app.models.base import (
    Array,
    Floats,
    as_parameters,
    csr_arrays,
    known,
    parse_parameters,
    positives,
    take_csr,
    take_floats,
)
from app.models.linalg import inverse_document_frequency, randomized_svd, unit_rows


@dataclass(frozen=True, slots=True)
class ContentParameters:
    """`factors`: dimensions kept of the TF-IDF space, 0 for all. `words`: what words count beside genres and tags."""

    factors: int = 128
    words: float = 0.5


class ContentRecommender(Recommender, PlacesNew):
    """Without a reduction: `_vectors` is a sparse matrix of unit rows."""

    def __init__(self, name: str, parameters: ContentParameters) -> None:
        self.name = name
        self._parameters = parameters
        self._vectors: Floats | sp.csr_matrix = sp.csr_matrix((0, 0), dtype=np.float32)
        self._idf: Floats = np.zeros(0, dtype=np.float32)
        self._mean_weight = 1.0

    @classmethod
    def build(cls, name: str, parameters: Mapping[str, object]) -> ContentRecommender:
        """Unfitted, from JSON parameters: a tower where there are factors."""
        parsed = parse_parameters(ContentParameters, parameters)
        return ContentTower(name, parsed) if parsed.factors > 0 else ContentRecommender(name, parsed)

    @classmethod
    def restore(cls, name: str, parameters: Mapping[str, object], arrays: Mapping[str, Array]) -> ContentRecommender:
        """Fitted, from its arrays."""
        restored = cls.build(name, parameters)
        restored._take(arrays)
        restored._mean_weight = float(take_floats(arrays, "mean_weight", 1)[0])
        return restored

    def _take(self, arrays: Mapping[str, Array]) -> None:
        self._idf = take_floats(arrays, "idf", None)
        self._vectors = take_csr(arrays, "vectors")

    @property
    def n_items(self) -> int:
        return int(self._vectors.shape[0])

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        features = dataset.item_features
        if features is None or not features.matrix.nnz:
            raise NotEnoughDataError("no item has features that others share")
        positives(dataset, flat=True)
        weights = dataset.histories.weights
        self._mean_weight = float(np.float32(np.abs(weights[weights != 0]).mean()))
        progress(self.name, 0.3)
        self._learn(features, self._weighting(features), seed)
        progress(self.name, 1.0)

    def _weighting(self, features: Features) -> Floats:
        """(n_features,): rarity, words discounted."""
        is_word = np.array([name.startswith(("title:", "text:")) for name in features.names])
        discount = np.where(is_word, np.float32(self._parameters.words), np.float32(1.0))
        return np.asarray(inverse_document_frequency(features.matrix) * discount, dtype=np.float32)

    def _learn(self, features: Features, weighting: Floats, seed: int) -> None:
        self._idf = weighting
        self._vectors = self._encode(features.matrix)

    def _encode(self, features: sp.csr_matrix) -> Floats | sp.csr_matrix:
        """(n, n_features) unit rows; zeros for items without known features."""
        return unit_rows(sp.csr_matrix(features @ sp.diags(self._idf), dtype=np.float32))

    def _scale(self, mass: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(1.0 / np.sqrt(1.0 + mass / self._mean_weight) / self._mean_weight, dtype=np.float64)

    def _told(self, histories: Histories) -> tuple[sp.csr_matrix, NDArray[np.float64]]:
        """(weights of the known entries, scale of each user)."""
        weights = known(histories, self.n_items)
        return weights, self._scale(np.asarray(abs(weights).sum(axis=1), dtype=np.float64).ravel())

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        weights, scale = self._told(histories)
        users = sp.diags(scale.astype(np.float32)) @ (weights @ self._vectors)
        vectors = self._vectors if items is None else self._vectors[items]
        return np.asarray((sp.csr_matrix(users, dtype=np.float32) @ vectors.T).todense(), dtype=np.float32)

    def _products(self, entries: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float64]:
        return np.asarray(sp.csr_matrix(self._vectors[entries] @ self._vectors[items].T).todense(), dtype=np.float64)

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        """What the score loses when the entry is taken away; the last row is the change of scale they share."""
        weights = np.where(history.items < self.n_items, history.weights, 0.0).astype(np.float64)
        entries = np.where(history.items < self.n_items, history.items, 0)
        single = weights[:, None] * self._products(entries, items)
        total, mass = single.sum(axis=0), np.abs(weights).sum()
        whole = total * self._scale(mass)
        without = (total - single) * self._scale(mass - np.abs(weights))[:, None]
        return np.vstack([whole - without, whole - (whole - without).sum(axis=0)]).astype(np.float32)

    def as_new(self, dataset: Dataset, items: NDArray[np.bool_]) -> ContentRecommender:
        return self  # what was liked says nothing of where an item stands

    def extended(self, features: sp.csr_matrix) -> ContentRecommender:
        wider = type(self)(self.name, self._parameters)
        wider._idf, wider._mean_weight = self._idf, self._mean_weight
        wider._vectors = sp.csr_matrix(sp.vstack([self._vectors, self._encode(features)]), dtype=np.float32)
        return wider

    def parameters(self) -> Mapping[str, object]:
        return as_parameters(self._parameters)

    def arrays(self) -> Mapping[str, Array]:
        return {
            **csr_arrays("vectors", self._vectors),
            "idf": self._idf,
            "mean_weight": np.array([self._mean_weight], dtype=np.float32),
        }


class ContentTower(ContentRecommender, Tower):
    """Reduced: dense unit vectors, searchable by an index as soon as an item's features are known."""

    def __init__(self, name: str, parameters: ContentParameters) -> None:
        super().__init__(name, parameters)
        self._vectors: Floats = np.zeros((0, 0), dtype=np.float32)
        self._projection: Floats = np.zeros((0, 0), dtype=np.float32)

    def _take(self, arrays: Mapping[str, Array]) -> None:
        self._projection = take_floats(arrays, "projection", None, None)
        self._vectors = take_floats(arrays, "vectors", None, self._projection.shape[1])

    @property
    def item_vectors(self) -> Floats:
        return self._vectors

    def _learn(self, features: Features, weighting: Floats, seed: int) -> None:
        encoded = unit_rows(sp.csr_matrix(features.matrix @ sp.diags(weighting), dtype=np.float32))
        _, right = randomized_svd(encoded, self._parameters.factors, seed=seed)
        self._projection = np.ascontiguousarray(weighting[:, None] * right, dtype=np.float32)
        self._vectors = self._encode(features.matrix)

    def _encode(self, features: sp.csr_matrix) -> Floats:
        """(n, factors) unit vectors; zeros for items without known features."""
        projected = np.asarray(features @ self._projection, dtype=np.float32)
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        return np.asarray(np.divide(projected, norms, out=np.zeros_like(projected), where=norms > 1e-6))

    def fold_in(self, histories: Histories) -> Floats:
        weights, scale = self._told(histories)
        users = np.asarray(weights @ self._vectors, dtype=np.float64)
        return np.asarray(users * scale[:, None], dtype=np.float32)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        vectors = self._vectors if items is None else self._vectors[items]
        return np.asarray(self.fold_in(histories) @ vectors.T, dtype=np.float32)

    def _products(self, entries: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float64]:
        return self._vectors[entries].astype(np.float64) @ self._vectors[items].astype(np.float64).T

    def extended(self, features: sp.csr_matrix) -> ContentTower:
        wider = type(self)(self.name, self._parameters)
        wider._projection, wider._mean_weight = self._projection, self._mean_weight
        wider._vectors = np.vstack([self._vectors, self._encode(features)])
        return wider

    def arrays(self) -> Mapping[str, Array]:
        return {
            "vectors": self._vectors,
            "projection": self._projection,
            "mean_weight": np.array([self._mean_weight], dtype=np.float32),
        }
