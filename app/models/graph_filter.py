"""A graph filter: the smooth part of a history on the normalised user-item graph.

With R̃ = Dᵤ^-½ R Dᵢ^-½ and its top right singular vectors V, the ideal low-pass filter of Shen et al. 2021 (GF-CF,
https://arxiv.org/abs/2108.07567) is score = r · Dᵢ^-½ V Vᵀ Dᵢ^½. Their linear part is the recommender `item-item`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.recommender import ProgressCallback, Recommender, Tower
from app.models.base import Array, Floats, as_parameters, parse_parameters, positives, take_floats
from app.models.linalg import randomized_svd
from app.models.linear import inputs, losses, scaled


@dataclass(frozen=True, slots=True)
class GraphParameters:
    """`factors`: frequencies let through. `power`: singular values to this power weigh them (0: all alike)."""

    factors: int = 256
    power: float = 0.0


class GraphRecommender(Recommender, Tower):
    """A linear tower: vectors in (`_reading`) and out (`item_vectors`) differ by the items' degrees."""

    def __init__(self, name: str, parameters: GraphParameters) -> None:
        self.name = name
        self._parameters = parameters
        self._reading: Floats = np.zeros((0, 0), dtype=np.float32)
        self._vectors: Floats = np.zeros((0, 0), dtype=np.float32)
        self._mean_weight = 1.0

    @classmethod
    def build(cls, name: str, parameters: Mapping[str, object]) -> GraphRecommender:
        """Unfitted, from JSON parameters."""
        return cls(name, parse_parameters(GraphParameters, parameters))

    @classmethod
    def restore(cls, name: str, parameters: Mapping[str, object], arrays: Mapping[str, Array]) -> GraphRecommender:
        """Fitted, from its arrays."""
        restored = cls.build(name, parameters)
        restored._vectors = take_floats(arrays, "vectors", None, None)
        restored._reading = take_floats(arrays, "reading", *restored._vectors.shape)
        restored._mean_weight = float(take_floats(arrays, "mean_weight", 1)[0])
        return restored

    @property
    def n_items(self) -> int:
        return len(self._vectors)

    @property
    def item_vectors(self) -> Floats:
        return self._vectors

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        liked = positives(dataset, flat=True)
        weights = dataset.histories.weights
        self._mean_weight = float(np.float32(weights[weights > 0].mean()))
        lengths = np.maximum(np.diff(liked.indptr), 1).astype(np.float64)
        counts = np.bincount(liked.indices, minlength=liked.shape[1]).astype(np.float64)
        shrink = np.divide(1.0, np.sqrt(counts), out=np.zeros_like(counts), where=counts > 0)
        normal = sp.diags(lengths**-0.5) @ liked @ sp.diags(shrink)
        values, right = randomized_svd(sp.csr_matrix(normal, dtype=np.float32), self._parameters.factors, seed=seed)
        gain = np.where(values > 1e-6, values, 0.0) ** self._parameters.power * (values > 1e-6)
        self._reading = np.ascontiguousarray(right * gain * shrink[:, None], dtype=np.float32)
        self._vectors = np.ascontiguousarray(right * np.sqrt(counts)[:, None], dtype=np.float32)
        progress(self.name, 1.0)

    def fold_in(self, histories: Histories) -> Floats:
        weights = inputs(histories, self.n_items, self._mean_weight)
        return scaled(np.asarray(weights @ self._reading, dtype=np.float32), weights)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        vectors = self._vectors if items is None else self._vectors[items]
        return np.asarray(self.fold_in(histories) @ vectors.T, dtype=np.float32)

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        """What the score loses when the entry is taken away; the last row is the change of scale they share."""
        weights = inputs(history, self.n_items, self._mean_weight)
        entry = np.zeros(len(history.items))
        entry[history.items < self.n_items] = weights.data
        rows = self._reading[np.where(history.items < self.n_items, history.items, 0)].astype(np.float64)
        return losses(entry[:, None] * (rows @ self._vectors[items].astype(np.float64).T), np.abs(entry))

    def extended(self, features: sp.csr_matrix) -> GraphRecommender:
        wider = type(self)(self.name, self._parameters)
        nothing = np.zeros((features.shape[0], self._vectors.shape[1]), dtype=np.float32)
        wider._reading = np.vstack([self._reading, nothing])
        wider._vectors = np.vstack([self._vectors, nothing])
        wider._mean_weight = self._mean_weight
        return wider

    def parameters(self) -> Mapping[str, object]:
        return as_parameters(self._parameters)

    def arrays(self) -> Mapping[str, Array]:
        return {
            "vectors": self._vectors,
            "reading": self._reading,
            "mean_weight": np.array([self._mean_weight], dtype=np.float32),
        }
