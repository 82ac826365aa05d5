"""Choosing a recipe: which recommenders, with which parameters, blended with which weights (ADR 0003).

Everything is decided on a cut of the training set: a few pairs of each user are held out, candidates are fitted on the
rest, and what ranks the held-out pairs best among all items wins.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from app.application.evaluation.blending import DEPTH, RankingQuery, candidate_pool, coordinate_ascent
from app.application.evaluation.search_space import PRIOR_FAMILIES, DatasetShape, Family, Parameters, families
from app.application.evaluation.selection_queries import SelectionQueries, selection_queries
from app.application.evaluation.top_lists import hits_of, top_lists
from app.domain.dataset import Dataset
from app.domain.exceptions import InputError, NotEnoughDataError
from app.domain.metrics import ndcg
from app.domain.recommender import ProgressCallback, Recommender, Recommenders
from app.domain.scaling import score_scale

MEMBER_OF_TYPE: Mapping[str, str] = {
    "collaborative": "ials",
    "content": "content",
    "sequential": "sequence",
    "popular": "popularity",
}
"""The `type` of the HTTP API and the command line → the recommender that answers it."""

_HOPELESS = 0.6
"""A family whose first trial reaches less than this share of the best one is not tuned any further."""

_COLD_SHARES: Mapping[str, float] = {"ials": 0.05, "content": 0.02}
"""The least weight of members that place new items by their features: without them such items would tie at nothing."""

_CHEAP_AND_NEEDED = frozenset({"content"})
"""Tried when the time is up, too, where items have features: nothing else may place those that nobody touched."""

_KEPT = PRIOR_FAMILIES | frozenset(_COLD_SHARES)

_EXPECTED_TRIALS = 12.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train: `build(name, parameters)`. `table` has one row per candidate that was tried, for people."""

    name: str
    parameters: Mapping[str, object]
    table: Sequence[Mapping[str, object]] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    recommender: Recommender
    parameters: Parameters
    value: float


@dataclass(slots=True)
class Search:
    """State of one selection: the cut, who is asked, what was tried, when to stop."""

    recommenders: Recommenders
    asked: SelectionQueries
    seed: int
    deadline: float
    progress: ProgressCallback
    table: list[dict[str, object]] = field(default_factory=list)
    best: float = 0.0

    def try_out(self, family: Family, parameters: Parameters, *, whole: bool = False) -> Trial | None:
        """Fit on the cut and judge; None where there is nothing to learn. `whole`: without the trial's economies."""
        began, name = _spent(), family.name
        fitted_with = parameters if whole else {**parameters, **family.trial}
        candidate = self.recommenders.build(name, fitted_with)
        try:
            candidate.fit(self.asked.train, seed=self.seed, progress=self._no_op_listener)
        except NotEnoughDataError:
            return None
        # A prior is judged by what it is for: users without a history.
        question = self.asked.short.get(0, self.asked.whole) if name in PRIOR_FAMILIES else self.asked.whole
        value = float(_values(candidate, question).mean())
        if name not in PRIOR_FAMILIES:
            self.best = max(self.best, value)
        figures = {f"ndcg@{DEPTH}": round(value, 5), "seconds": round(_spent() - began, 2)}
        self.table.append({"recommender": name, "parameters": dict(fitted_with), **figures})
        self.progress("selection", self.share())
        return Trial(candidate, parameters, value)

    def _no_op_listener(self, stage: str, fraction: float) -> None:
        # Only cancellation must get through; the fraction of one trial would jump about.
        self.progress("selection", self.share())

    def share(self) -> float:
        """How much of the trials are done, for people."""
        return min(0.95, len(self.table) / _EXPECTED_TRIALS)

    def best_of(self, family: Family, known: Parameters | None = None) -> Trial | None:
        """The best rung of a family's ladder, fitted as it will be; `known`: parameters that served well so far."""
        best = self._best_rung(family, known)
        if best is None or not family.trial:
            return best
        if self._is_hopeless(family, best):
            # All it can be is a small voice in a blend: what it was judged by is what will be trained.
            return Trial(best.recommender, {**best.parameters, **family.trial}, best.value)
        return self.try_out(family, best.parameters, whole=True)

    def _best_rung(self, family: Family, known: Parameters | None) -> Trial | None:
        first = self.try_out(family, family.ladder[family.first])
        if first is None:
            return None
        known = None if known is None else family.without_economies(known)
        if known is not None and known != first.parameters:
            served = self.try_out(family, known)
            if served is not None and served.value >= first.value:
                return served
        best = self._climb(family, first, range(family.first + 1, len(family.ladder)))
        if best is first:
            best = self._climb(family, first, range(family.first - 1, -1, -1))
        return self._varied(family, best)

    def _varied(self, family: Family, best: Trial) -> Trial:
        for variant in family.variants:
            if _spent() > self.deadline or self._is_hopeless(family, best):
                break
            tried = self.try_out(family, {**best.parameters, **variant})
            if tried is not None and tried.value > best.value:
                best = tried
        return best

    def _is_hopeless(self, family: Family, best: Trial) -> bool:
        return family.name not in PRIOR_FAMILIES and best.value < _HOPELESS * self.best

    def _climb(self, family: Family, best: Trial, rungs: range) -> Trial:
        """As long as it gets better, there is time, and the family is in the race at all."""
        for rung in rungs:
            if _spent() > self.deadline or self._is_hopeless(family, best):
                break
            tried = self.try_out(family, family.ladder[rung])
            if tried is None or tried.value <= best.value:
                break
            best = tried
        return best


def select(
    train: Dataset,
    recommenders: Recommenders,
    model_type: str,
    *,
    seed: int,
    budget_seconds: float,
    progress: ProgressCallback,
    start: Mapping[str, object] | None = None,
) -> Recipe:
    """The recipe for this training set, chosen on a validation cut of it.

    `budget_seconds` of processor time bound the trials; a last one may run over.

    `model_type` is a recommender's name or one of MEMBERS. `start`: the parameters of the recipe that serves now,
    tried beside the others. Where nobody has two likes there is nothing to choose on, and a hybrid is popularity.
    Raises InputError for an unknown type, NotEnoughDataError where nothing can be learnt.
    """
    name = MEMBER_OF_TYPE.get(model_type, model_type)
    if name not in recommenders.names():
        raise InputError("unknown model type", "model_type")
    asked = selection_queries(train, seed)
    if asked is None:
        return _popular(train) if name == "hybrid" else Recipe(name, {})
    deadline = _spent() + budget_seconds
    search = Search(recommenders, asked, seed, deadline, progress)
    shape = DatasetShape.of(train, timed=asked.by_time, clocked=asked.has_clock)
    space = families(shape, {name, *recommenders.optional()})
    if name == "hybrid":
        return _blend(search, space, start)
    family = next((one for one in space if one.name == name), Family(name))
    best = search.best_of(family, start)
    return Recipe(name, {} if best is None else best.parameters, tuple(search.table))


def _popular(train: Dataset, table: Sequence[Mapping[str, object]] = ()) -> Recipe:
    """What is left where no question tells candidates apart; content places what has no likes yet."""
    weights = {"popularity": [1.0]}
    if train.item_features is not None and train.item_features.matrix.nnz:
        weights["content"] = [_COLD_SHARES["content"]]
    return Recipe("hybrid", {"members": {name: {} for name in weights}, "weights": weights, "knots": [0]}, tuple(table))


def _spent() -> float:
    """Processor seconds, not the clock's: a busy machine must not change what is chosen."""
    return time.process_time()


def _values(recommender: Recommender, question: RankingQuery) -> NDArray[np.float64]:
    lists, _ = top_lists(recommender, question.histories, DEPTH, hidden=question.hidden)
    return ndcg(hits_of(lists, question.relevant), np.diff(question.relevant.indptr), DEPTH)


def _blend(search: Search, space: Sequence[Family], start: Mapping[str, object] | None) -> Recipe:
    """Members at their best parameters, then weights: for whole histories first, then for ever shorter ones."""
    before = start.get("members") if start is not None else None
    found: dict[str, Trial] = {}
    has_features = search.asked.train.item_features is not None
    for family in space:
        if found and _spent() > search.deadline and not (family.name in _CHEAP_AND_NEEDED and has_features):
            continue
        known = before.get(family.name) if isinstance(before, Mapping) else None
        best = search.best_of(family, known)
        if best is not None:
            found[family.name] = best
    if not found:
        raise NotEnoughDataError("nothing can be learnt from these interactions")
    members = {name: trial.recommender for name, trial in found.items()}
    knots, weights = _weights_by_length(search, members)
    if search.asked.train.item_features is not None:
        for name, least in _COLD_SHARES.items():
            if name in weights:
                weights[name] = [max(weight, least) for weight in weights[name]]
    used = [name for name in members if any(weights[name])]
    if not used:
        return _popular(search.asked.train, search.table)
    blend = {
        "members": {name: dict(found[name].parameters) for name in used},
        "weights": {name: weights[name] for name in used},
        "knots": knots,
    }
    return Recipe("hybrid", blend, tuple(search.table))


def _weights_by_length(search: Search, members: Mapping[str, Recommender]) -> tuple[list[int], dict[str, list[float]]]:
    """(rising knots, member → weight at each knot)."""
    # Matrix times vector, many times over: a threaded BLAS below it is slower than one thread.
    with threadpool_limits(1, "blas"):
        scales = {name: score_scale(member, search.asked.train.histories) for name, member in members.items()}
    questions = {**search.asked.short, search.asked.length: search.asked.whole}
    lengths = list(questions)
    found: list[dict[str, float]] = []
    weights: dict[str, float] | None = None
    names = tuple(members)
    # Where two members say the same, the first to be weighed gets the weight: the one that also places new items.
    members = dict(sorted(members.items(), key=lambda one: one[0] not in _KEPT))
    for length in reversed(lengths):
        weights, value = coordinate_ascent(candidate_pool(members, scales, questions[length]), weights)
        found.insert(0, weights)
        if length == lengths[-1]:
            # What adds nothing to whole histories is not worth fitting and serving for the sake of short ones.
            members = {name: one for name, one in members.items() if weights[name] or name in _KEPT}
        row = {"recommender": "blend", "history": length, "weights": dict(weights), f"ndcg@{DEPTH}": round(value, 5)}
        search.table.append(row)
        search.progress("selection", 0.95)
    return lengths, {name: [row.get(name, 0.0) for row in found] for name in names}
