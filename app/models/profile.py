"""The profile prior: what people like this one like. A ridge from profile features to deviations from popularity.

Without profiles, in training or in the request, it is popularity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.recommender import ProgressCallback, Recommender
from app.models.base import Array, Floats, as_parameters, parse_parameters, positives, take, take_floats
from app.models.popularity import beginnings, popularity_scores

_MAX_CELLS = 40_000_000
"""Features times items: 160 MB."""

_MAX_FEATURES = 400


@dataclass(frozen=True, slots=True)
class ProfileParameters:
    """`regularization`: how many users a group needs before it counts half. Others as in PopularityParameters."""

    regularization: float = 300.0
    half_life_days: float = 0.0
    first: int = 0


class ProfileRecommender(Recommender):
    """score = share of users who liked it + features · deviations."""

    def __init__(self, name: str, parameters: ProfileParameters) -> None:
        self.name = name
        self._parameters = parameters
        self._shares: Floats = np.zeros(0, dtype=np.float32)
        self._kept: NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self._mean: Floats = np.zeros(0, dtype=np.float32)
        self._deviations: Floats = np.zeros((0, 0), dtype=np.float32)
        self._n_features = 0

    @classmethod
    def build(cls, name: str, parameters: Mapping[str, object]) -> ProfileRecommender:
        """Unfitted, from JSON parameters."""
        return cls(name, parse_parameters(ProfileParameters, parameters))

    @classmethod
    def restore(cls, name: str, parameters: Mapping[str, object], arrays: Mapping[str, Array]) -> ProfileRecommender:
        """Fitted, from its arrays."""
        restored = cls.build(name, parameters)
        restored._shares = take_floats(arrays, "shares", None)
        restored._mean = take_floats(arrays, "mean", None)
        width = len(restored._mean)
        restored._kept = take(arrays, "kept", (width,), np.int32)  # type: ignore[assignment] # dtype checked by take
        restored._deviations = take_floats(arrays, "deviations", width, len(restored._shares))
        restored._n_features = int(take_floats(arrays, "n_features", 1)[0])
        return restored

    @property
    def n_items(self) -> int:
        return len(self._shares)

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        dataset = beginnings(dataset, self._parameters.first)
        self._shares = popularity_scores(dataset, self._parameters.half_life_days)
        profiles = dataset.histories.profiles
        limit = min(_MAX_FEATURES, _MAX_CELLS // max(dataset.n_items, 1))
        if profiles is None or not profiles.nnz or not limit:
            profiles, limit = sp.csr_matrix((dataset.n_users, 0), dtype=np.float32), 0
        self._n_features = int(profiles.shape[1])
        frequency = np.asarray(profiles.sum(axis=0)).ravel()
        self._kept = np.sort(np.argsort(-frequency, kind="stable")[:limit]).astype(np.int32)
        self._mean = (frequency[self._kept] / max(dataset.n_users, 1)).astype(np.float32)
        self._deviations = self._learn(profiles[:, self._kept], positives(dataset, flat=True))
        progress(self.name, 1.0)

    def _learn(self, profiles: sp.csr_matrix, liked: sp.csr_matrix) -> Floats:
        """(n_kept, n_items): the ridge from centred features to centred likes, without making either dense."""
        n_users, width = profiles.shape
        if not width:
            return np.zeros((0, liked.shape[1]), dtype=np.float32)
        mean = self._mean.astype(np.float64)
        gram = np.asarray((profiles.T @ profiles).todense(), dtype=np.float64) - n_users * np.outer(mean, mean)
        gram[np.diag_indices(width)] += self._parameters.regularization
        rate = np.asarray(liked.mean(axis=0)).ravel()
        cross = np.asarray((profiles.T @ liked).todense(), dtype=np.float64) - n_users * np.outer(mean, rate)
        solution = scipy.linalg.solve(gram, cross, assume_a="pos", check_finite=False)
        return np.ascontiguousarray(solution, dtype=np.float32)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        shares = self._shares if items is None else self._shares[items]
        scores = np.tile(shares, (len(histories), 1))
        profiles = histories.profiles
        if profiles is None or not len(self._kept) or profiles.shape[1] != self._n_features:
            return scores
        told = np.diff(profiles.indptr) > 0
        centred = np.asarray(profiles[:, self._kept].todense(), dtype=np.float32) - self._mean
        deviations = self._deviations if items is None else self._deviations[:, items]
        # Somebody without a profile is nobody in particular, not somebody without every feature.
        return np.asarray(scores + (centred * told[:, None]) @ deviations, dtype=np.float32)

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        parts = np.zeros((len(history.items) + 1, len(items)), dtype=np.float32)
        parts[-1] = self.score(history, items)[0]
        return parts

    def extended(self, features: sp.csr_matrix) -> ProfileRecommender:
        wider = type(self)(self.name, self._parameters)
        wider._shares = np.concatenate([self._shares, np.zeros(features.shape[0], dtype=np.float32)])
        wider._deviations = np.pad(self._deviations, ((0, 0), (0, features.shape[0])))
        wider._kept, wider._mean, wider._n_features = self._kept, self._mean, self._n_features
        return wider

    def parameters(self) -> Mapping[str, object]:
        return as_parameters(self._parameters)

    def arrays(self) -> Mapping[str, Array]:
        return {
            "shares": self._shares,
            "mean": self._mean,
            "kept": self._kept,
            "deviations": self._deviations,
            "n_features": np.array([self._n_features], dtype=np.float32),
        }
