"""What members weigh for items nobody has touched: asked by hiding some that people know (new_items.py, ADR 0003)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.application.evaluation.blending import DEPTH, candidate_pool, coordinate_ascent, is_gain
from app.application.evaluation.new_items import NewItems
from app.application.evaluation.search import Search, Trial, values
from app.application.evaluation.search_space import Family
from app.domain.dataset import Histories
from app.domain.recommender import PlacesNew, Recommender, Scorer

_LEAST_SHARES: Mapping[str, float] = {"ials": 0.05, "content": 0.02}
"""Where nothing could be asked: the least weight of members that place new items, which else would tie at nothing."""

_RIDGES: Mapping[str, Sequence[float]] = {"ials": (1.0, 100.0, 1_000.0)}
"""Other values of `cold_regularization`: how far features are trusted is a matter of how many there are."""

_FEWEST_TARGETS = 20
"""Untouched items that people went on to like: with fewer of them what came later says nothing about new items."""

_LEVELS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5)


def least_shares(weights: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The weights, those of members that place new items at least at their least share."""
    return {name: [max(weight, _LEAST_SHARES.get(name, weight)) for weight in row] for name, row in weights.items()}


def learn_placing(search: Search, family: Family, best: Trial) -> Trial:
    """The trial with the regularisation that places hidden items best; as it is, where that is no question."""
    new = search.asked.new_items
    if new is None or family.name not in _RIDGES or not isinstance(best.recommender, PlacesNew):
        return best
    found, present = best, _placed(search, best, new)
    for strength in _RIDGES[family.name]:
        parameters = {**best.parameters, "cold_regularization": strength}
        twin = search.recommenders.restore(family.name, parameters, best.recommender.arrays())
        trial = Trial(twin, parameters, best.value)
        placed = _placed(search, trial, new)
        row = {"recommender": family.name, "parameters": dict(parameters)}
        search.table.append({**row, f"new items ndcg@{DEPTH}": round(float(placed.mean()), 5)})
        if is_gain(placed, present):
            found, present = trial, placed
    return found


def _placed(search: Search, trial: Trial, new: NewItems) -> NDArray[np.float64]:
    scorers = search.recommenders.as_new({"": trial.recommender}, search.asked.train, new.items)
    return values(scorers[""], new.among)


def weights_of_new_items(
    search: Search, members: Mapping[str, Recommender], scales: Mapping[str, float], usual: Mapping[str, float]
) -> dict[str, float] | None:
    """Member → weight for items nobody has touched; None where this could not be asked.

    First the order among the hidden items, then how high they stand beside all others, whose weights are `usual`.
    Members that weigh nothing elsewhere take part if they place new items themselves.
    """
    new = search.asked.new_items
    asked = {name: one for name, one in members.items() if usual.get(name) or isinstance(one, PlacesNew)}
    if new is None or not asked:
        return None
    scorers = search.recommenders.as_new(asked, search.asked.train, new.items)
    weights, value = coordinate_ascent(candidate_pool(scorers, scales, new.among))
    level = _level(scorers, scales, usual, weights, new)
    row = {"recommender": "blend", "history": "new items", "weights": dict(weights), "level": level}
    search.table.append({**row, f"ndcg@{DEPTH}": round(value, 5)})
    cold = {name: round(weight * level, 5) for name, weight in weights.items()}
    # A new item must be found within moments: never lower than the usual weights of what places it would put it.
    placing = {name: (usual[name],) for name in cold if isinstance(asked[name], PlacesNew)}
    for name, least in least_shares(placing).items():
        cold[name] = max(cold[name], least[0])
    return cold if _holds(search, asked, scales, usual, cold) else None


def _holds(
    search: Search,
    members: Mapping[str, Recommender],
    scales: Mapping[str, float],
    usual: Mapping[str, float],
    cold: Mapping[str, float],
) -> bool:
    """Whether the usual weights are no better on what truly came later, where that holds items nobody had touched.

    Hidden items are not new ones: people knew them all along. Where most of what is liked next is new (a site of news),
    the usual weights were learnt from it and need no others.
    """
    train = search.asked.train
    untouched = np.bincount(train.histories.items, minlength=train.n_items) == 0
    if search.asked.whole.relevant[:, untouched].nnz < _FEWEST_TARGETS:
        return True
    scorers = search.recommenders.as_new(members, train, untouched)
    least = {name: row[0] for name, row in least_shares({name: (usual[name],) for name in scorers}).items()}
    parts = {
        "others": _Part("others", scorers, {name: usual[name] / scales[name] for name in scorers}, ~untouched),
        "usual": _Part("usual", scorers, {name: least[name] / scales[name] for name in scorers}, untouched),
        "cold": _Part("cold", scorers, {name: cold[name] / scales[name] for name in scorers}, untouched),
    }
    asked = candidate_pool(parts, dict.fromkeys(parts, 1.0), search.asked.whole)
    with_cold = asked.values({"others": 1.0, "usual": 0.0, "cold": 1.0})
    is_better_without = is_gain(asked.values({"others": 1.0, "usual": 1.0, "cold": 0.0}), with_cold)
    search.table.append({"recommender": "blend", "history": "new items", "kept": not is_better_without})
    return not is_better_without


def _level(
    scorers: Mapping[str, Scorer],
    scales: Mapping[str, float],
    usual: Mapping[str, float],
    cold: Mapping[str, float],
    new: NewItems,
) -> float:
    """What the scores of new items are multiplied with so that lists of everything are best."""
    parts = {
        "others": _Part("others", scorers, {name: usual[name] / scales[name] for name in scorers}, ~new.items),
        "new": _Part("new", scorers, {name: cold[name] / scales[name] for name in scorers}, new.items),
    }
    asked = candidate_pool(parts, dict.fromkeys(parts, 1.0), new.everything)
    best, present = 1.0, asked.values({"others": 1.0, "new": 1.0})
    for level in _LEVELS:
        tried = asked.values({"others": 1.0, "new": level})
        if is_gain(tried, present):
            best, present = level, tried
    return best


@dataclass(frozen=True, slots=True)
class _Part(Scorer):
    """A blend with these weights for the items of `mask`, and nothing for all others."""

    name: str
    scorers: Mapping[str, Scorer]
    weights: Mapping[str, float]
    mask: NDArray[np.bool_]

    @property
    def n_items(self) -> int:
        return len(self.mask)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
        total = np.zeros((len(histories), self.n_items), dtype=np.float32)
        for name, scorer in self.scorers.items():
            if self.weights[name]:
                total += np.float32(self.weights[name]) * scorer.score(histories)
        total[:, ~self.mask] = 0.0
        return total if items is None else total[:, items]
