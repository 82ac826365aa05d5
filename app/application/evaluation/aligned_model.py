"""A restored model seen through the item positions of another training set, so that both can be judged together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.application.artifacts.model_artifacts import LoadedModel
from app.domain.dataset import Dataset, Histories
from app.domain.entities import Item
from app.domain.features import encode_items
from app.domain.recommender import Scorer


class AlignedModel(Scorer):
    """Scores as the model would, for the items and histories of `train`.

    Items the model has never seen are added by their features, as the serving side does.
    """

    def __init__(self, loaded: LoadedModel, train: Dataset, items: Sequence[Item]) -> None:
        known = {item.item_id: item for item in items}
        new = [item_id for item_id in train.items.ids if item_id not in loaded.item_ids]
        features = encode_items([known.get(item_id) for item_id in new], loaded.feature_names)
        extended = loaded.item_ids.extended(new)
        self._recommender = loaded.recommender.extended(features) if new else loaded.recommender
        self._positions = extended.positions(train.items.ids)
        self._profiles = _profile_columns(train, loaded.user_feature_names)
        self.name = loaded.recommender.name

    @property
    def n_items(self) -> int:
        return len(self._positions)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
        profiles = None
        if histories.profiles is not None and self._profiles is not None:
            profiles = sp.csr_matrix(histories.profiles @ self._profiles)
        translated = replace(histories, items=self._positions[histories.items], profiles=profiles)
        return self._recommender.score(translated, self._positions if items is None else self._positions[items])


def _profile_columns(train: Dataset, names: Sequence[str]) -> sp.csr_matrix | None:
    """(n features of train, len(names)) float32 CSR of ones where the names are the same."""
    if train.user_features is None or not names:
        return None
    wanted = {name: column for column, name in enumerate(names)}
    pairs = [(row, wanted[name]) for row, name in enumerate(train.user_features.names) if name in wanted]
    rows, columns = [row for row, _ in pairs], [column for _, column in pairs]
    shape = (len(train.user_features.names), len(names))
    return sp.csr_matrix((np.ones(len(pairs), dtype=np.float32), (rows, columns)), shape=shape)
