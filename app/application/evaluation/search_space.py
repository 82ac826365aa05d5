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
"""Up to here such a square costs a second or two, and a second pair of decays is tried."""

_UNEVEN = 0.15
"""Signals differ in strength where their standard deviation is more than this share of their mean."""

_READ_EVENTS = 8_000_000
"""By a transformer, over all epochs: some minutes of two cores (ADR 0020)."""

_USUAL_BUDGET, _SLOW_SHARE = 120.0, 0.1
"""Processor seconds of a selection, and the share that one fit of what learns example by example may take of them."""

_LIGHTFM_SECONDS = 2.5e-6
"""Per pair and epoch with 32 components."""

_BPR_SECONDS = 2.5e-5
"""Per pair, with 64 factors and all its epochs: one fit for selection and one in the end."""

FACTORS = (64, 128, 256, 512)
"""Dimensions of towers: quality rises with them as long as there are pairs to learn from."""


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
            bool(liked.std() > _UNEVEN * liked.mean()) if len(liked) else False,
            dataset.item_features is not None,
            dataset.user_features is not None,
        )


@dataclass(frozen=True, slots=True)
class Family:
    """One recommender and a ladder of parameter sets; selection starts at `first` and climbs while it gets better.

    `trial` overrides parameters while climbing: what makes a fit cheaper without changing which rung is best. A verdict
    on the family is never taken from it: the best rung is fitted as it will be, and the better of the two is trained.
    `variants` override those of the best rung, one after the other, and stay where they make it better; `readings` do
    the same without another fit, as they change only how a fitted recommender scores. `sizes` are climbed last, while
    the gain of each says that another may pay.
    """

    name: str
    ladder: Sequence[Parameters] = ({},)
    first: int = 0
    trial: Parameters = field(default_factory=dict)
    variants: Sequence[Parameters] = ()
    readings: Sequence[Parameters] = ()
    sizes: Sequence[Parameters] = ()

    def without_economies(self, parameters: Parameters) -> Parameters:
        """A recipe's parameters of this family with its own size again, where it was trained with the trial's."""
        own = self.ladder[self.first]
        sized = {*self.trial, *(name for size in self.sizes for name in size)}
        return {
            **{name: value for name, value in parameters.items() if name not in sized},
            **{name: own[name] for name in sized if name in own},
        }


PRIOR_FAMILIES = frozenset({"popularity", "trending", "profile"})
"""Recommenders that need no history."""


def families(
    shape: DatasetShape, optional: Collection[str] = (), budget_seconds: float = _USUAL_BUDGET
) -> Sequence[Family]:
    """What to try, in order: priors, then what tends to win, then what may add to it; last what costs most.

    `optional`: names of those to try that not everybody has or wants (`Recommenders.optional`). Those whose cost is
    known beforehand are tried where they take at most a share of `budget_seconds`.
    """
    # What newcomers start with may differ from what everybody has; without times nobody knows what came first.
    starts: Sequence[Parameters] = ({}, {"first": 40}, {"first": 20}) if shape.timed else ({},)
    tried = [Family("popularity", starts)]
    if shape.clocked:
        tried.append(Family("trending", [{"half_life_days": days} for days in (7.0, 30.0, 120.0, 480.0)], 1))
    if shape.user_features:
        # How many users a group needs is a matter of how many there are.
        groups = [{"regularization": users} for users in (300.0, 100.0, 30.0, 10.0)]
        tried.append(Family("profile", groups, variants=starts[1:]))
    if shape.timed:
        tried += [_transitions(), _sequence(shape)]
    fading = [{"decay": decay} for decay in (0.9, 0.7, 0.4)] if shape.timed else []
    tried += [
        Family("rp3", [{"beta": beta} for beta in (0.15, 0.3, 0.6)], 1, readings=fading),
        Family("graph", [{"factors": factors, "power": 0.5} for factors in (32, *FACTORS)], 2),
        _factors(shape, "ials"),
    ]
    # implicit's ALS minimises what iALS does, more slowly: it is for those who ask for it. BPR learns another thing.
    if "als" in optional:
        tried.append(_factors(shape, "als"))
    if "bpr" in optional or _BPR_SECONDS * shape.n_pairs <= _SLOW_SHARE * budget_seconds:
        tried.append(_bpr(shape))
    if shape.n_items <= _DENSE_ITEMS:
        # Four times what an item has on average: 1,000 for a million pairs of 3,700 items.
        per_item = shape.n_pairs / max(shape.n_items, 1)
        tried.append(Family("ease", [{"regularization": round(float(np.clip(4.0 * per_item, 50.0, 5_000.0)), 1)}]))
    if shape.item_features:
        unreduced = ({"factors": 0}, {"words": 1.0}, {"words": 0.2})
        tried.append(Family("content", variants=unreduced))
    if shape.user_features:
        tried += _lightfm(shape, budget_seconds)
    if shape.timed and "transformer" in optional:
        tried.append(_transformer(shape))
    return tried


def _transitions() -> Family:
    """From the very next step to a session: how far apart what follows may lie."""
    spans = [{"window": 2, "step": 0.3}, {}, {"window": 15, "step": 0.85}]
    fading = [{"decay": decay} for decay in (0.3, 0.8, 0.9)]
    return Family("transitions", spans, 1, variants=({"beta": 0.0}, {"beta": 0.6}), readings=fading)


def _sequence(shape: DatasetShape) -> Family:
    """Which decays: a matter of how people choose, so the quick fits try more than one pair."""
    if shape.n_items > _DENSE_ITEMS:
        slow = [{"factors": FACTORS[0], "fast": 0.0, "slow": slow} for slow in (0.8, 0.95)]
        return Family("sequence", slow, sizes=[{"factors": factors} for factors in FACTORS[1:3]])
    # As the root of the data: 300 for a million pairs, 100 for a tenth of them.
    strength = round(float(np.clip(300.0 * np.sqrt(shape.n_pairs / 1e6), 20.0, 1_000.0)), 1)
    decays = ((0.5, 0.95), (0.0, 0.9)) if shape.n_items <= _QUICK_ITEMS else ((0.5, 0.95),)
    return Family("sequence", [{"fast": fast, "slow": slow, "regularization": strength} for fast, slow in decays])


def _lightfm(shape: DatasetShape, budget_seconds: float) -> Sequence[Family]:
    """Items and users by what is known of them: what a newcomer's groups like among items nobody of them has seen."""
    affordable = _SLOW_SHARE * budget_seconds / (_LIGHTFM_SECONDS * max(shape.n_pairs, 1))
    epochs = [epochs for epochs in (15, 40) if epochs <= affordable]
    return [Family("lightfm", [{"components": 32, "epochs": number} for number in epochs])] if epochs else []


def _transformer(shape: DatasetShape) -> Family:
    """As many events in all, whatever the size: few pairs are read more often."""
    epochs = int(np.clip(_READ_EVENTS // max(shape.n_pairs, 1), 2, 40))
    return Family("transformer", [{"epochs": epochs}])


def _bpr(shape: DatasetShape) -> Family:
    """Pairs in order of preference, sampled. λ matters in folding in alone, as for iALS: one fit, several readings."""
    *stronger, first = _factors(shape, "ials").ladder[:4]
    return Family("bpr", [first], readings=[{"regularization": one["regularization"]} for one in stronger])


def _factors(shape: DatasetShape, name: str) -> Family:
    """Unobserved weight and regularisation in proportion to the data.

    alpha follows the root of the density. The ladder is over λ of a typical user, λ = regularization · (n + alpha ·
    items): the best was between 2 and 8 on catalogs of 3,700 and 41,000 items alike, while the best raw
    regularisation differed tenfold (ADR 0003).
    """
    per_user = shape.n_pairs / max(shape.n_users, 1)
    alpha = round(float(np.clip(0.8 * np.sqrt(per_user / max(shape.n_items, 1)), 0.005, 0.3)), 4)
    unit = per_user + alpha * shape.n_items
    return Family(
        name,
        [
            {"factors": FACTORS[0], "alpha": alpha, "regularization": round(strength / unit, 6)}
            for strength in (0.7, 1.2, 2.0, 3.5, 6.0, 10.0, 17.0)
        ],
        3,
        {"epochs": 6},
        # Whether a strong signal says more than a weak one, or both just say yes, is a matter of the data.
        ({"flat": False},) if shape.weighted else (),
        sizes=[{"factors": factors} for factors in FACTORS[1:]],
    )
