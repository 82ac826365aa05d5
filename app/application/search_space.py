"""What selection may try: families of recommenders and the few parameters that matter, scaled to the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.dataset import Dataset

Parameters = Mapping[str, object]


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


def families(shape: Shape) -> dict[str, Sequence[Parameters]]:
    """Recommender name → parameter sets to try, the most promising first. Cheap families come first."""
    tried: dict[str, Sequence[Parameters]] = {"popularity": ({},)}
    if shape.timed:
        tried["trending"] = ({"half_life_days": 30.0}, {"half_life_days": 180.0})
    tried["ials"] = _ials(shape)
    if shape.item_features:
        tried["content"] = ({},)
    return tried


def _ials(shape: Shape) -> Sequence[Parameters]:
    factors = 64 if shape.n_pairs < 200_000 else 192
    return (
        {"factors": factors, "regularization": 0.01, "alpha": 0.1},
        {"factors": factors, "regularization": 0.003, "alpha": 0.3},
        {"factors": factors, "regularization": 0.03, "alpha": 0.1},
    )
