"""LightFM (WARP) over item and user features, exported as vectors and biases: serving needs no LightFM.

Kula 2015, https://arxiv.org/abs/1507.08439. An item is the sum of its own embedding and those of its features. Users
are folded in: a ridge, fitted on LightFM's own user representations, maps a history's item vectors and the profile to
the user's vector, so that unseen users get one too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.recommender import PlacesNew, ProgressCallback, Recommender, Tower
from app.domain.splits import keep_entries
from app.models.base import Array, Floats, as_parameters, parse_parameters, positives, take_floats
from app.models.linalg import unit_rows
from app.models.linear import inputs, losses, scaled


@dataclass(frozen=True, slots=True)
class LightfmParameters:
    """LightFM's own names and defaults of this service: 30 components, 30 epochs, WARP."""

    components: int = 30
    epochs: int = 30
    learning_rate: float = 0.05
    regularization: float = 10.0


class LightfmRecommender(Recommender, Tower, PlacesNew):
    """Item vectors with the bias as last column; the user's last column is 1."""

    def __init__(self, name: str, parameters: LightfmParameters) -> None:
        self.name = name
        self._parameters = parameters
        self._vectors: Floats = np.zeros((0, 1), dtype=np.float32)
        self._features: Floats = np.zeros((0, 1), dtype=np.float32)
        self._mixing: Floats = np.zeros((1, 0), dtype=np.float32)
        self._mean_weight = 1.0

    @classmethod
    def build(cls, name: str, parameters: Mapping[str, object]) -> LightfmRecommender:
        """Unfitted, from JSON parameters."""
        return cls(name, parse_parameters(LightfmParameters, parameters))

    @classmethod
    def restore(cls, name: str, parameters: Mapping[str, object], arrays: Mapping[str, Array]) -> LightfmRecommender:
        """Fitted, from its arrays."""
        restored = cls.build(name, parameters)
        restored._vectors = take_floats(arrays, "vectors", None, None)
        width = restored._vectors.shape[1]
        restored._features = take_floats(arrays, "features", None, width)
        restored._mixing = take_floats(arrays, "mixing", None, width - 1)
        restored._mean_weight = float(take_floats(arrays, "mean_weight", 1)[0])
        return restored

    @property
    def n_items(self) -> int:
        return len(self._vectors)

    @property
    def item_vectors(self) -> Floats:
        return self._vectors

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        positives(dataset, flat=True)
        weights = dataset.histories.weights
        self._mean_weight = float(np.float32(weights[weights > 0].mean()))
        model, items, users = train_lightfm(dataset, self._parameters, seed=seed, progress=progress)
        item_bias, item_parts, user_parts = model.item_biases, model.item_embeddings, model.user_embeddings
        stacked = np.concatenate([item_parts, item_bias[:, None]], axis=1)
        self._vectors = np.ascontiguousarray(items @ stacked, dtype=np.float32)
        self._features = np.ascontiguousarray(stacked[dataset.n_items :], dtype=np.float32)
        self._mixing = self._mix(dataset.histories, np.asarray(users @ user_parts, dtype=np.float32))
        progress(self.name, 1.0)

    def _profile(self, histories: Histories, width: int) -> Floats:
        if histories.profiles is None or histories.profiles.shape[1] != width:
            return np.zeros((len(histories), width), dtype=np.float32)
        return np.asarray(histories.profiles.todense(), dtype=np.float32)

    def _bag(self, histories: Histories) -> Floats:
        """(n, components): the scaled sum of the history's item vectors."""
        weights = inputs(histories, self.n_items, self._mean_weight)
        return scaled(np.asarray(weights @ self._vectors[:, :-1], dtype=np.float32), weights)

    def _mix(self, histories: Histories, users: Floats) -> Floats:
        """(components + n_user_features + 1, components): the ridge to LightFM's user vectors."""
        width = 0 if histories.profiles is None else histories.profiles.shape[1]
        constant = np.ones((len(histories), 1), dtype=np.float32)
        known = np.concatenate([self._bag(histories), self._profile(histories, width), constant], axis=1)
        gram = (known.T @ known).astype(np.float64)
        gram[np.diag_indices(len(gram))] += self._parameters.regularization
        solution = scipy.linalg.solve(gram, (known.T @ users).astype(np.float64), assume_a="pos", check_finite=False)
        return np.ascontiguousarray(solution, dtype=np.float32)

    def _beside(self, histories: Histories) -> Floats:
        """(n, components): what profile and constant add to the user's vector."""
        components = self._vectors.shape[1] - 1
        profile = self._profile(histories, len(self._mixing) - components - 1)
        return np.asarray(profile @ self._mixing[components:-1] + self._mixing[-1], dtype=np.float32)

    def fold_in(self, histories: Histories) -> Floats:
        components = self._vectors.shape[1] - 1
        users = self._bag(histories) @ self._mixing[:components] + self._beside(histories)
        return np.concatenate([users, np.ones((len(histories), 1), dtype=np.float32)], axis=1)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        vectors = self._vectors if items is None else self._vectors[items]
        return np.asarray(self.fold_in(histories) @ vectors.T, dtype=np.float32)

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        """What the score loses when the entry is taken away; the last row holds bias and profile too."""
        components = self._vectors.shape[1] - 1
        entry = np.zeros(len(history.items))
        known = history.items < self.n_items
        entry[known] = inputs(history, self.n_items, self._mean_weight).data
        rows = self._vectors[np.where(known, history.items, 0), :components] @ self._mixing[:components]
        targets = self._vectors[items]
        parts = losses(entry[:, None] * (rows @ targets[:, :components].T).astype(np.float64), np.abs(entry))
        parts[-1] += self._beside(history)[0] @ targets[:, :components].T + targets[:, -1]
        return parts

    def as_new(self, dataset: Dataset, items: NDArray[np.bool_]) -> LightfmRecommender:
        """A second fit: the embeddings of features learn from every item that has them, the hidden ones too."""
        twin = type(self)(self.name, self._parameters)
        rest = keep_entries(dataset.histories, ~items[dataset.histories.items])
        twin.fit(replace(dataset, histories=rest), seed=0, progress=lambda stage, fraction: None)
        if dataset.item_features is not None and len(twin._features):
            rows = np.flatnonzero(items)
            twin._vectors[rows] = unit_rows(dataset.item_features.matrix[rows]) @ twin._features
        return twin

    def extended(self, features: sp.csr_matrix) -> LightfmRecommender:
        wider = type(self)(self.name, self._parameters)
        new = np.zeros((features.shape[0], self._vectors.shape[1]), dtype=np.float32)
        if len(self._features):
            new = np.asarray(unit_rows(features) @ self._features, dtype=np.float32)
        wider._vectors = np.vstack([self._vectors, new])
        wider._features, wider._mixing, wider._mean_weight = self._features, self._mixing, self._mean_weight
        return wider

    def parameters(self) -> Mapping[str, object]:
        return as_parameters(self._parameters)

    def arrays(self) -> Mapping[str, Array]:
        return {
            "vectors": self._vectors,
            "features": self._features,
            "mixing": self._mixing,
            "mean_weight": np.array([self._mean_weight], dtype=np.float32),
        }


def train_lightfm(
    dataset: Dataset, parameters: LightfmParameters, *, seed: int, progress: ProgressCallback
) -> tuple[Any, sp.csr_matrix, sp.csr_matrix]:
    """(the library's fitted model, item features, user features) after all epochs."""
    from lightfm import LightFM

    liked = positives(dataset, flat=True).tocoo()
    items, users = _described(dataset)
    model = LightFM(
        no_components=parameters.components,
        loss="warp",
        learning_rate=parameters.learning_rate,
        random_state=np.int32(seed),
    )
    for epoch in range(parameters.epochs):
        # One thread: several would race for the embeddings, and the same seed would not give the same model.
        model.fit_partial(liked, user_features=users, item_features=items, epochs=1, num_threads=1)
        progress("lightfm", (epoch + 1) / (parameters.epochs + 1))
    return model, items, users


def _described(dataset: Dataset) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Items and users as [own column | unit feature row], float32 CSR."""

    def own(n: int, features: sp.csr_matrix | None) -> sp.csr_matrix:
        identity = sp.identity(n, dtype=np.float32, format="csr")
        blocks = [identity] if features is None else [identity, unit_rows(features)]
        return sp.csr_matrix(sp.hstack(blocks), dtype=np.float32)

    items = None if dataset.item_features is None else dataset.item_features.matrix
    return own(dataset.n_items, items), own(dataset.n_users, dataset.histories.profiles)
