"""Popularity and trending: how many people liked an item, with or without forgetting. The same for everyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.recommender import ProgressCallback, Recommender
from app.domain.splits import entry_ages, keep_entries
from app.models.base import Array, Floats, as_parameters, parse_parameters, positives, take_floats

_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class PopularityParameters:
    """`half_life_days` 0: an event counts the same however old it is.

    `first` > 0: only the first so many entries of each user count, which is what newcomers start with.
    """

    half_life_days: float = 0.0
    first: int = 0


@dataclass(frozen=True, slots=True)
class TrendingParameters:
    """As PopularityParameters, forgetting by default."""

    half_life_days: float = 30.0
    first: int = 0


def beginnings(dataset: Dataset, first: int) -> Dataset:
    """The training set with the first (oldest) `first` entries of each user; all of them for 0."""
    if first <= 0:
        return dataset
    return replace(dataset, histories=keep_entries(dataset.histories, entry_ages(dataset.histories) < first))


def popularity_scores(dataset: Dataset, half_life_days: float) -> Floats:
    """(n_items,) float32: decayed number of users with a positive weight, over the number of users."""
    positives(dataset, flat=True)
    histories = dataset.histories
    kept = (histories.weights > 0).astype(np.float64)
    if half_life_days > 0:
        age_days = np.maximum(histories.now - histories.times, 0.0) / _DAY_SECONDS
        kept *= np.exp2(-age_days / half_life_days)
    counts = np.bincount(histories.items, weights=kept, minlength=dataset.n_items)
    return (counts / max(dataset.n_users, 1)).astype(np.float32)


class Popularity(Recommender):
    """Scores are shares of users, 0 for an item nobody liked yet; histories are not looked at."""

    def __init__(self, name: str, parameters: PopularityParameters | TrendingParameters) -> None:
        self.name = name
        self._parameters = parameters
        self._scores: Floats = np.zeros(0, dtype=np.float32)

    @classmethod
    def build(cls, name: str, parameters: Mapping[str, object]) -> Popularity:
        """Unfitted, from JSON parameters."""
        if name == "trending":
            return cls(name, parse_parameters(TrendingParameters, parameters))
        return cls(name, parse_parameters(PopularityParameters, parameters))

    @classmethod
    def restore(cls, name: str, parameters: Mapping[str, object], arrays: Mapping[str, Array]) -> Popularity:
        """Fitted, from its arrays."""
        restored = cls.build(name, parameters)
        restored._scores = take_floats(arrays, "scores", None)
        return restored

    @property
    def n_items(self) -> int:
        return len(self._scores)

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        self._scores = popularity_scores(beginnings(dataset, self._parameters.first), self._parameters.half_life_days)
        progress(self.name, 1.0)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        scores = self._scores if items is None else self._scores[items]
        return np.tile(scores, (len(histories), 1))

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        parts = np.zeros((len(history.items) + 1, len(items)), dtype=np.float32)
        parts[-1] = self._scores[items]
        return parts

    def extended(self, features: sp.csr_matrix) -> Popularity:
        wider = type(self)(self.name, self._parameters)
        wider._scores = np.concatenate([self._scores, np.zeros(features.shape[0], dtype=np.float32)])
        return wider

    def parameters(self) -> Mapping[str, object]:
        return as_parameters(self._parameters)

    def arrays(self) -> Mapping[str, Array]:
        return {"scores": self._scores}
