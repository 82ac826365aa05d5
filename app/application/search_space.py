"""What selection may try: families of recommenders and the few parameters that matter, scaled to the data.

Nothing here knows a data set by name: only sizes, whether times tell an order, and whether there are features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.dataset import Dataset

Parameters = Mapping[str, object]

_DENSE_ITEMS = 4_500
"""Up to here item-by-item squares (EASE, the dense sequence) are solved within seconds and served from memory."""

_SMALL, _LARGE = 200_000, 3_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides which families make sense."""

    n_users: int
    n_items: int
    n_pairs: int
    timed: bool
    item_features: bool
    user_features: bool

    @classmethod
    def of(cls, dataset: Dataset, *, timed: bool) -> Shape:
        """The shape of a training set."""
        return cls(
            dataset.n_users,
            dataset.n_items,
            len(dataset.histories.items),
            timed,
            dataset.item_features is not None,
            dataset.user_features is not None,
        )

    @property
    def factors(self) -> int:
        """Dimension of towers: quality rises with it as long as there are pairs to learn from."""
        if self.n_pairs < _SMALL:
            return 64
        return 256 if self.n_pairs < _LARGE else 128


def families(shape: Shape) -> dict[str, Sequence[Parameters]]:
    """Recommender name → parameter sets to try, the most promising first. Priors and cheap families come first."""
    tried: dict[str, Sequence[Parameters]] = {"popularity": ({},)}
    if shape.timed:
        tried["trending"] = ({"half_life_days": 30.0}, {"half_life_days": 180.0})
    if shape.user_features:
        tried["profile"] = ({},)
    tried["rp3"] = ({}, {"beta": 0.6}) if shape.n_pairs < _LARGE else ({},)
    if shape.timed:
        tried["sequence"] = _sequence(shape)
    tried["graph"] = _graph(shape)
    tried["ials"] = _ials(shape)
    if shape.n_items <= _DENSE_ITEMS:
        tried["ease"] = ({"regularization": 1_000.0},)
    if shape.item_features:
        tried["content"] = ({},)
    return tried


def _sequence(shape: Shape) -> Sequence[Parameters]:
    if shape.n_items <= _DENSE_ITEMS:
        return ({"regularization": 300.0},) if shape.n_pairs >= _SMALL else ({"regularization": 100.0},)
    return ({"factors": min(shape.factors, 256), "slow": 0.8},)


def _graph(shape: Shape) -> Sequence[Parameters]:
    if shape.n_pairs < _SMALL:
        return ({"factors": 32}, {"factors": 128, "power": 0.5})
    # Sparse data with many items hold their signal in many weak directions.
    sparse = shape.n_pairs / max(shape.n_users, 1) < 50
    return ({"factors": 512, "power": 0.5},) if sparse else ({"factors": 128, "power": 0.5},)


def _ials(shape: Shape) -> Sequence[Parameters]:
    """The unobserved mass, alpha x items, must stay in proportion to what a user has seen."""
    per_user = shape.n_pairs / max(shape.n_users, 1)
    balanced = round(min(max(per_user * 3.0 / max(shape.n_items, 1), 0.001), 0.3), 4)
    strengths = (0.01, 0.03, 0.003)
    return tuple({"factors": shape.factors, "regularization": strength, "alpha": balanced} for strength in strengths)
