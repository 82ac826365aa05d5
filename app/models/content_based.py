"""Content: TF-IDF of genres, tags, years and words, reduced by SVD where there are many; cosine to what was liked.

A user is the weighted sum of the unit vectors of the history over √(1 + Σ|weight|): the direction is what ranks, the
scale grows with how much is known, so that a blend trusts a long history more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.exceptions import NotEnoughDataError
from app.domain.recommender import ProgressCallback, Recommender, Tower
from app.models.base import Array, Floats, as_parameters, known, parse_parameters, positives, take_floats
from app.models.linalg import inverse_document_frequency, randomized_svd, unit_rows


@dataclass(frozen=True, slots=True)
class ContentParameters:
    """`factors`: dimensions kept of the TF-IDF space. `words`: how much words count against genres, tags and years."""

    factors: int = 128
    words: float = 0.5


class ContentRecommender(Recommender, Tower):
    """A tower from features alone: an item is searchable as soon as its features are known."""

    def __init__(self, name: str, parameters: ContentParameters) -> None:
        self.name = name
        self._parameters = parameters
        self._vectors: Floats = np.zeros((0, 0), dtype=np.float32)
        self._projection: Floats = np.zeros((0, 0), dtype=np.float32)
        self._mean_weight = 1.0

    @classmethod
    def build(cls, name: str, parameters: Mapping[str, object]) -> ContentRecommender:
        """Unfitted, from JSON parameters."""
        return cls(name, parse_parameters(ContentParameters, parameters))

    @classmethod
    def restore(cls, name: str, parameters: Mapping[str, object], arrays: Mapping[str, Array]) -> ContentRecommender:
        """Fitted, from its arrays."""
        restored = cls.build(name, parameters)
        restored._projection = take_floats(arrays, "projection", None, None)
        restored._vectors = take_floats(arrays, "vectors", None, restored._projection.shape[1])
        restored._mean_weight = float(take_floats(arrays, "mean_weight", 1)[0])
        return restored

    @property
    def n_items(self) -> int:
        return len(self._vectors)

    @property
    def item_vectors(self) -> Floats:
        return self._vectors

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        features = dataset.item_features
        if features is None or not features.matrix.nnz:
            raise NotEnoughDataError("no item has features that others share")
        positives(dataset, flat=True)
        weights = dataset.histories.weights
        self._mean_weight = float(np.float32(np.abs(weights[weights != 0]).mean()))
        idf = inverse_document_frequency(features.matrix)
        is_word = np.array([name.startswith(("title:", "text:")) for name in features.names])
        scale = idf * np.where(is_word, np.float32(self._parameters.words), np.float32(1.0))
        encoded = unit_rows(sp.csr_matrix(features.matrix @ sp.diags(scale), dtype=np.float32))
        progress(self.name, 0.3)
        _, right = randomized_svd(encoded, self._parameters.factors, seed=seed)
        self._projection = np.ascontiguousarray(scale[:, None] * right, dtype=np.float32)
        self._vectors = self._encode(features.matrix)
        progress(self.name, 1.0)

    def _encode(self, features: sp.csr_matrix) -> Floats:
        """(n, factors) unit vectors; zeros for items without known features."""
        projected = np.asarray(features @ self._projection, dtype=np.float32)
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        return np.asarray(np.divide(projected, norms, out=np.zeros_like(projected), where=norms > 1e-6))

    def _scale(self, mass: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(1.0 / np.sqrt(1.0 + mass / self._mean_weight) / self._mean_weight, dtype=np.float64)

    def fold_in(self, histories: Histories) -> Floats:
        weights = known(histories, self.n_items)
        mass = np.asarray(abs(weights).sum(axis=1), dtype=np.float64).ravel()
        users = np.asarray(weights @ self._vectors, dtype=np.float64)
        return np.asarray(users * self._scale(mass)[:, None], dtype=np.float32)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        vectors = self._vectors if items is None else self._vectors[items]
        return np.asarray(self.fold_in(histories) @ vectors.T, dtype=np.float32)

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        """What the score loses when the entry is taken away; the last row is the change of scale they share."""
        weights = np.where(history.items < self.n_items, history.weights, 0.0).astype(np.float64)
        rows = self._vectors[np.where(history.items < self.n_items, history.items, 0)].astype(np.float64)
        single = weights[:, None] * (rows @ self._vectors[items].astype(np.float64).T)
        total, mass = single.sum(axis=0), np.abs(weights).sum()
        whole = total * self._scale(mass)
        without = (total - single) * self._scale(mass - np.abs(weights))[:, None]
        return np.vstack([whole - without, whole - (whole - without).sum(axis=0)]).astype(np.float32)

    def extended(self, features: sp.csr_matrix) -> ContentRecommender:
        wider = type(self)(self.name, self._parameters)
        wider._projection, wider._mean_weight = self._projection, self._mean_weight
        wider._vectors = np.vstack([self._vectors, self._encode(features)])
        return wider

    def parameters(self) -> Mapping[str, object]:
        return as_parameters(self._parameters)

    def arrays(self) -> Mapping[str, Array]:
        return {
            "vectors": self._vectors,
            "projection": self._projection,
            "mean_weight": np.array([self._mean_weight], dtype=np.float32),
        }
