"""The table of recommenders: name → how to build and restore it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.dataset import Dataset
from app.domain.exceptions import ArtifactDamagedError, InputError
from app.domain.recommender import PlacesNew, Recommender, Recommenders, Scorer
from app.models.collaborative import FactorRecommender
from app.models.content_based import ContentRecommender
from app.models.ease import EaseRecommender
from app.models.graph_filter import GraphRecommender
from app.models.hybrid import Hybrid
from app.models.lightfm import LightfmRecommender
from app.models.neighbours import NeighbourRecommender
from app.models.peers import Peers, ThroughPeers
from app.models.popularity import Popularity
from app.models.profile import ProfileRecommender
from app.models.sequence import SequenceRecommender
from app.models.transformer import TransformerRecommender, is_worth_trying


class _Maker(Protocol):
    """What every recommender class offers besides the Recommender contract."""

    def build(self, name: str, parameters: Mapping[str, object]) -> Recommender: ...

    def restore(
        self, name: str, parameters: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]]
    ) -> Recommender: ...


class _HybridMaker:
    """Hybrids need the table to make their members."""

    @staticmethod
    def build(name: str, parameters: Mapping[str, object]) -> Recommender:
        return Hybrid.build(name, parameters, lambda: RECOMMENDERS)

    @staticmethod
    def restore(name: str, parameters: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]]) -> Recommender:
        return Hybrid.restore(name, parameters, arrays, lambda: RECOMMENDERS)


_MAKERS: Mapping[str, _Maker] = {
    "popularity": Popularity,
    "trending": Popularity,
    "profile": ProfileRecommender,
    "ials": FactorRecommender,
    "als": FactorRecommender,
    "bpr": FactorRecommender,
    "lightfm": LightfmRecommender,
    "content": ContentRecommender,
    "rp3": NeighbourRecommender,
    "item-item": NeighbourRecommender,
    "transitions": NeighbourRecommender,
    "graph": GraphRecommender,
    "ease": EaseRecommender,
    "sequence": SequenceRecommender,
    "transformer": TransformerRecommender,
    "hybrid": _HybridMaker(),
}


class RecommenderTable(Recommenders):
    """Recommenders over the classes of this package. `transformer`: when selection tries it, one of its WHEN."""

    def __init__(self, transformer: str = "never") -> None:
        self._transformer = transformer

    def optional(self) -> Collection[str]:
        return ("transformer",) if is_worth_trying(self._transformer) else ()

    def names(self) -> tuple[str, ...]:
        return tuple(_MAKERS)

    def as_new(
        self, members: Mapping[str, Recommender], dataset: Dataset, items: NDArray[np.bool_]
    ) -> Mapping[str, Scorer]:
        peers = Peers.learn(dataset, items)
        return {
            name: member.as_new(dataset, items)
            if isinstance(member, PlacesNew)
            else ThroughPeers(member.name, member, peers)
            for name, member in members.items()
        }

    def build(self, name: str, parameters: Mapping[str, object]) -> Recommender:
        maker = _MAKERS.get(name)
        if maker is None:
            raise InputError("unknown recommender", "name")
        return maker.build(name, parameters)

    def restore(
        self, name: str, parameters: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]]
    ) -> Recommender:
        maker = _MAKERS.get(name)
        if maker is None:
            raise ArtifactDamagedError("manifest.json", "unknown recommender")
        try:
            return maker.restore(name, parameters, arrays)
        except InputError as exc:
            raise ArtifactDamagedError("manifest.json", "unknown parameters") from exc


RECOMMENDERS: Recommenders = RecommenderTable()
