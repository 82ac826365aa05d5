"""What selection may try: families of recommenders and the few parameters that matter, scaled to the data.

Nothing here knows a data set by name: only sizes, whether times tell an order, and whether there are features.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.domain.dataset import Dataset

Parameters = Mapping[str, object]

_DENSE_ITEMS = 4_500
"""Up to here item-by-item squares (EASE, the dense sequence) are solved within seconds and served from memory."""

_QUICK_ITEMS = 2_000
"""Up to here such a square costs a second or two."""

_READ_EVENTS = 8_000_000
"""By a transformer, over all epochs: some minutes of two cores (ADR 0020)."""

_SMALL, _LARGE = 200_000, 3_000_000


@dataclass(frozen=True, slots=True)
class DatasetShape:
    """What decides which families make sense."""

    n_users: int
    n_items: int
    n_pairs: int
    timed: bool
    clocked: bool
    weighted: bool
    item_features: bool
    user_features: bool

    @classmethod
    def of(cls, dataset: Dataset, *, timed: bool, clocked: bool) -> DatasetShape:
        """The shape of a training set."""
        liked = dataset.histories.weights[dataset.histories.weights > 0]
        return cls(
            dataset.n_users,
            dataset.n_items,
            len(dataset.histories.items),
            timed,
            clocked,
            bool(np.ptp(liked) > 0) if len(liked) else False,
            dataset.item_features is not None,
            dataset.user_features is not None,
        )

    @property
    def factors(self) -> int:
        """Dimension of towers: quality rises with it as long as there are pairs to learn from."""
        if self.n_pairs < _SMALL:
            return 64
        return 256 if self.n_pairs < _LARGE else 128


@dataclass(frozen=True, slots=True)
class Family:
    """One recommender and a ladder of parameter sets; selection starts at `first` and climbs while it gets better.

    `trial` overrides parameters while climbing: what makes a fit cheaper without changing which rung is best.
    `variants` override those of the best rung, one after the other, and stay where they make it better.
    """

    name: str
    ladder: Sequence[Parameters] = ({},)
    first: int = 0
    trial: Parameters = field(default_factory=dict)
    variants: Sequence[Parameters] = ()

    def without_economies(self, parameters: Parameters) -> Parameters:
        """A recipe's parameters of this family with its own size again, where it was trained with the trial's."""
        own = self.ladder[self.first]
        return {
            **{name: value for name, value in parameters.items() if name not in self.trial},
            **{name: own[name] for name in self.trial if name in own},
        }


PRIOR_FAMILIES = frozenset({"popularity", "trending", "profile"})
"""Recommenders that need no history."""


def families(shape: DatasetShape, optional: Collection[str] = ()) -> Sequence[Family]:
    """What to try, in order: priors, then what tends to win, then what may add to it; last what costs most.

    `optional`: names of those to try that not everybody has or wants (`Recommenders.optional`).
    """
    # What newcomers start with may differ from what everybody has; without times nobody knows what came first.
    starts: Sequence[Parameters] = ({}, {"first": 40}, {"first": 20}) if shape.timed else ({},)
    tried = [Family("popularity", starts)]
    if shape.clocked:
        tried.append(Family("trending", [{"half_life_days": days} for days in (7.0, 30.0, 120.0, 480.0)], 1))
    if shape.user_features:
        tried.append(Family("profile", starts))
    if shape.timed:
        tried.append(_sequence(shape))
    tried += [Family("rp3", [{"beta": beta} for beta in (0.15, 0.3, 0.6)], 1), _graph(shape), _ials(shape)]
    if shape.n_items <= _DENSE_ITEMS:
        # Four times what an item has on average: 1,000 for a million pairs of 3,700 items.
        per_item = shape.n_pairs / max(shape.n_items, 1)
        tried.append(Family("ease", [{"regularization": round(float(np.clip(4.0 * per_item, 50.0, 5_000.0)), 1)}]))
    if shape.item_features:
        tried.append(Family("content"))
    if shape.timed and "transformer" in optional:
        tried.append(_transformer(shape))
    return tried


def _sequence(shape: DatasetShape) -> Family:
    """Which decays: a matter of how people choose, so the quick fits try more than one pair."""
    if shape.n_items > _DENSE_ITEMS:
        factors = min(shape.factors, 256)
        return Family("sequence", [{"factors": factors, "fast": 0.0, "slow": slow} for slow in (0.8, 0.95)])
    strength = 300.0 if shape.n_pairs >= _SMALL else 100.0
    decays = ((0.5, 0.95), (0.0, 0.9)) if shape.n_items <= _QUICK_ITEMS else ((0.5, 0.95),)
    return Family("sequence", [{"fast": fast, "slow": slow, "regularization": strength} for fast, slow in decays])


def _transformer(shape: DatasetShape) -> Family:
    """As many events in all, whatever the size: few pairs are read more often."""
    epochs = int(np.clip(_READ_EVENTS // max(shape.n_pairs, 1), 2, 40))
    return Family("transformer", [{"epochs": epochs}])


def _graph(shape: DatasetShape) -> Family:
    """Sparse data with many items hold their signal in many weak directions."""
    if shape.n_pairs < _SMALL:
        return Family("graph", [{"factors": factors, "power": 0.5} for factors in (32, 64, 128)])
    sparse = shape.n_pairs / max(shape.n_users, 1) < 50
    factors = 512 if sparse and shape.n_pairs < _LARGE else shape.factors // 2
    return Family("graph", [{"factors": factors, "power": 0.5}])


def _ials(shape: DatasetShape) -> Family:
    """Unobserved weight and regularisation in proportion to the data.

    alpha follows the root of the density. The ladder is over λ of a typical user, λ = regularization · (n + alpha ·
    items): the best was between 2 and 8 on catalogs of 3,700 and 41,000 items alike, while the best raw
    regularisation differed tenfold (ADR 0003).
    """
    per_user = shape.n_pairs / max(shape.n_users, 1)
    alpha = round(float(np.clip(0.8 * np.sqrt(per_user / max(shape.n_items, 1)), 0.005, 0.3)), 4)
    unit = per_user + alpha * shape.n_items
    return Family(
        "ials",
        [
            {"factors": shape.factors, "alpha": alpha, "regularization": round(strength / unit, 6)}
            for strength in (0.7, 1.2, 2.0, 3.5, 6.0, 10.0, 17.0)
        ],
        3,
        {"factors": max(shape.factors // 2, 32), "epochs": 6},
        # Whether a strong signal says more than a weak one, or both just say yes, is a matter of the data.
        ({"flat": False},) if shape.weighted else (),
    )
