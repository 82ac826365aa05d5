"""EASE: the closed-form item-item regression with a zero diagonal (Steck 2019, https://arxiv.org/abs/1905.03375)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.exceptions import TrainingError
from app.domain.recommender import ProgressCallback, Recommender
from app.models.base import Array, Floats, as_parameters, parse_parameters, positives, take_floats
from app.models.linear import inputs, losses, scaled

MAX_ITEMS = 20_000
"""The inverse of a dense square of this size needs 3 GB and minutes."""


@dataclass(frozen=True, slots=True)
class EaseParameters:
    """`regularization` is the λ on the diagonal of the item-item counts."""

    regularization: float = 500.0


class EaseRecommender(Recommender):
    """Dense weights (n_items, n_items)."""

    def __init__(self, name: str, parameters: EaseParameters) -> None:
        self.name = name
        self._parameters = parameters
        self._weights: Floats = np.zeros((0, 0), dtype=np.float32)
        self._mean_weight = 1.0
        self._n_items = 0

    @classmethod
    def build(cls, name: str, parameters: Mapping[str, object]) -> EaseRecommender:
        """Unfitted, from JSON parameters."""
        return cls(name, parse_parameters(EaseParameters, parameters))

    @classmethod
    def restore(cls, name: str, parameters: Mapping[str, object], arrays: Mapping[str, Array]) -> EaseRecommender:
        """Fitted, from its arrays."""
        restored = cls.build(name, parameters)
        weights = take_floats(arrays, "weights", None, None)
        restored._weights = take_floats(arrays, "weights", *(len(weights),) * 2)
        facts = take_floats(arrays, "facts", 2)
        restored._mean_weight, restored._n_items = float(facts[0]), len(weights) + int(facts[1])
        return restored

    @property
    def n_items(self) -> int:
        return self._n_items

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        if dataset.n_items > MAX_ITEMS:
            raise TrainingError(f"EASE is limited to {MAX_ITEMS} items")
        liked = positives(dataset, flat=True)
        weights = dataset.histories.weights
        self._mean_weight = float(np.float32(weights[weights > 0].mean()))
        gram = np.asarray((liked.T @ liked).todense(), dtype=np.float32)
        gram[np.diag_indices(len(gram))] += np.float32(self._parameters.regularization)
        progress(self.name, 0.3)
        factor = scipy.linalg.cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
        inverse = scipy.linalg.cho_solve((factor, True), np.eye(len(gram), dtype=np.float32), check_finite=False)
        inverse /= -np.diag(inverse).copy()
        np.fill_diagonal(inverse, 0.0)
        self._weights = np.ascontiguousarray(inverse, dtype=np.float32)
        self._n_items = dataset.n_items
        progress(self.name, 1.0)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        weights = inputs(histories, len(self._weights), self._mean_weight)
        if len(histories) == 1:
            scores = np.asarray(weights.data @ self._weights[weights.indices], dtype=np.float32)[None, :]
        else:
            scores = np.asarray(weights @ self._weights, dtype=np.float32)
        return scaled(self._pick(scores, items), weights)

    def _pick(self, scores: Floats, items: NDArray[np.int32] | None) -> Floats:
        """The columns asked for; new items score 0."""
        width = scores.shape[1]
        if items is None:
            return np.pad(scores, ((0, 0), (0, self._n_items - width)))
        return np.where(items < width, scores[:, np.minimum(items, max(width - 1, 0))], np.float32(0.0))

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        """What the score loses when the entry is taken away; the last row is the change of scale they share."""
        n_trained = len(self._weights)
        entry = np.zeros(len(history.items))
        entry[history.items < n_trained] = inputs(history, n_trained, self._mean_weight).data
        rows = self._pick(self._weights[np.where(history.items < n_trained, history.items, 0)], items)
        return losses(entry[:, None] * rows.astype(np.float64), np.abs(entry))

    def extended(self, features: sp.csr_matrix) -> EaseRecommender:
        wider = type(self)(self.name, self._parameters)
        wider._weights, wider._mean_weight = self._weights, self._mean_weight
        wider._n_items = self._n_items + features.shape[0]
        return wider

    def parameters(self) -> Mapping[str, object]:
        return as_parameters(self._parameters)

    def arrays(self) -> Mapping[str, Array]:
        new = self._n_items - len(self._weights)
        return {"weights": self._weights, "facts": np.array([self._mean_weight, new], dtype=np.float32)}
