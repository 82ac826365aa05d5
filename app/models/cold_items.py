"""Vectors for items without interactions: a ridge from their features to the factors of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset
from app.models.base import Array, Floats, take_floats
from app.models.linalg import inverse_document_frequency, ridge, unit_rows


@dataclass(frozen=True, slots=True)
class ColdItems:
    """`idf`: (n_features,) float32 scale of each feature; `map`: (n_features + 1, factors), the last row constant."""

    idf: Floats
    map: Floats

    @classmethod
    def nothing(cls, factors: int = 0) -> ColdItems:
        """Knows no features: every cold item gets the zero vector."""
        return cls(np.zeros(0, dtype=np.float32), np.zeros((1, factors), dtype=np.float32))

    @classmethod
    def learn(cls, dataset: Dataset, vectors: Floats, counts: NDArray[np.float64], regularization: float) -> ColdItems:
        """From the features and vectors of the items with interactions; frequent items weigh more (√count)."""
        warm = np.flatnonzero(counts > 0)
        if dataset.item_features is None or not len(warm):
            return cls.nothing(vectors.shape[1])
        features = dataset.item_features.matrix
        idf = inverse_document_frequency(features)
        encoded = _encode(features[warm], idf)
        weights = np.sqrt(counts[warm])
        return cls(idf, ridge(encoded, vectors[warm], weights / weights.mean(), regularization))

    @classmethod
    def restore(cls, arrays: Mapping[str, Array], factors: int) -> ColdItems:
        """From what `arrays` gave."""
        idf = take_floats(arrays, "cold.idf", None)
        return cls(idf, take_floats(arrays, "cold.map", len(idf) + 1, factors))

    def vectors(self, features: sp.csr_matrix) -> Floats:
        """(n, factors) float32 for items with these features; zeros where the training set had no features."""
        if not len(self.idf):
            return np.zeros((features.shape[0], self.map.shape[1]), dtype=np.float32)
        return np.asarray(_encode(features, self.idf) @ self.map, dtype=np.float32)

    def arrays(self) -> dict[str, Array]:
        """For the artifact."""
        return {"cold.idf": self.idf, "cold.map": self.map}


def _encode(features: sp.csr_matrix, idf: Floats) -> sp.csr_matrix:
    scaled = unit_rows(sp.csr_matrix(features @ sp.diags(idf), dtype=np.float32))
    return sp.csr_matrix(sp.hstack([scaled, np.ones((features.shape[0], 1), dtype=np.float32)]), dtype=np.float32)
