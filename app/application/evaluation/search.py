"""One selection's search: candidates fitted on the cut, judged by its questions, within a budget (ADR 0003)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.application.evaluation.blending import DEPTH, RankingQuery
from app.application.evaluation.search_space import PRIOR_FAMILIES, Family, Parameters
from app.application.evaluation.selection_queries import SelectionQueries
from app.application.evaluation.top_lists import hits_of, top_lists
from app.domain.exceptions import NotEnoughDataError
from app.domain.metrics import ndcg
from app.domain.recommender import ProgressCallback, Recommender, Recommenders, Scorer

_HOPELESS = 0.6
"""A family that reaches less than this share of the best one is not tuned any further."""

_PAYS = 0.01
"""The next size is tried where the last one gained at least this share: gains shrink from one to the next."""

_DESCRIBING = "content"
"""Knows nothing but features: it is judged by what nothing else can do, placing items that nobody has touched."""

_EXPECTED_TRIALS = 25.0


@dataclass(frozen=True, slots=True)
class Trial:
    """A fitted candidate, the parameters that make it, and its NDCG@20."""

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
        began = spent()
        fitted_with = parameters if whole else {**parameters, **family.trial}
        candidate = self.recommenders.build(family.name, fitted_with)
        try:
            candidate.fit(self.asked.train, seed=self.seed, progress=self._no_op_listener)
        except NotEnoughDataError:
            return None
        return self._judged(family, candidate, fitted_with, parameters, began)

    def reread(self, family: Family, trial: Trial, variant: Parameters) -> Trial:
        """The same fit with other parameters of scoring."""
        began, parameters = spent(), {**trial.parameters, **variant}
        candidate = self.recommenders.restore(family.name, parameters, trial.recommender.arrays())
        return self._judged(family, candidate, parameters, parameters, began)

    def _judged(
        self, family: Family, candidate: Recommender, fitted_with: Parameters, parameters: Parameters, began: float
    ) -> Trial:
        value = float(values(candidate, self._question(family.name)).mean())
        if family.name not in PRIOR_FAMILIES | {_DESCRIBING}:
            self.best = max(self.best, value)
        figures = {f"ndcg@{DEPTH}": round(value, 5), "seconds": round(spent() - began, 2)}
        self.table.append({"recommender": family.name, "parameters": dict(fitted_with), **figures})
        self.progress("selection", self.share())
        return Trial(candidate, parameters, value)

    def _question(self, name: str) -> RankingQuery:
        """A prior is judged by what it is for, users without a history; content by items without one."""
        if name in PRIOR_FAMILIES:
            return self.asked.short.get(0, self.asked.whole)
        new = self.asked.new_items
        return new.among if name == _DESCRIBING and new is not None else self.asked.whole

    def _no_op_listener(self, stage: str, fraction: float) -> None:
        # Only cancellation must get through; the fraction of one trial would jump about.
        self.progress("selection", self.share())

    def share(self) -> float:
        """How much of the trials are done, for people."""
        return min(0.95, len(self.table) / _EXPECTED_TRIALS)

    def is_over(self) -> bool:
        """True where the budget is spent."""
        return spent() > self.deadline

    def best_of(self, family: Family, known: Parameters | None = None) -> Trial | None:
        """The best of a family, fitted as it will be; `known`: parameters that served well so far."""
        best = self._best_rung(family, known)
        if best is None or not (family.trial or family.sizes or family.readings):
            return best
        found = self._whole(family, best)
        if not self._is_hopeless(family, found):
            found = self._grown(family, found)
        for reading in family.readings:
            read = self.reread(family, found, reading)
            found = read if read.value > found.value else found
        return found

    def _whole(self, family: Family, best: Trial) -> Trial:
        """The better of what was tried with economies and the same without them."""
        economical = Trial(best.recommender, {**best.parameters, **family.trial}, best.value)
        if not family.trial:
            return best
        full = self.try_out(family, best.parameters, whole=True)
        return economical if full is None or full.value < best.value else full

    def _grown(self, family: Family, best: Trial) -> Trial:
        for size in family.sizes:
            if self.is_over():
                break
            tried = self.try_out(family, {**best.parameters, **size}, whole=True)
            gained = 0.0 if tried is None else tried.value - best.value
            if tried is not None and gained > 0:
                best = tried
            if gained < _PAYS * best.value:
                break
        return best

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
            if self.is_over() or self._is_hopeless(family, best):
                break
            tried = self.try_out(family, {**best.parameters, **variant})
            if tried is not None and tried.value > best.value:
                best = tried
        return best

    def _is_hopeless(self, family: Family, best: Trial) -> bool:
        return family.name not in PRIOR_FAMILIES | {_DESCRIBING} and best.value < _HOPELESS * self.best

    def _climb(self, family: Family, best: Trial, rungs: range) -> Trial:
        """As long as it gets better, there is time, and the family is in the race at all."""
        for rung in rungs:
            if self.is_over() or self._is_hopeless(family, best):
                break
            tried = self.try_out(family, family.ladder[rung])
            if tried is None or tried.value <= best.value:
                break
            best = tried
        return best


def spent() -> float:
    """Processor seconds, not the clock's: a busy machine must not change what is chosen."""
    return time.process_time()


def values(scorer: Scorer, question: RankingQuery) -> NDArray[np.float64]:
    """(n_users,) NDCG@20 of the answers."""
    lists, _ = top_lists(scorer, question.histories, DEPTH, hidden=question.hidden, allowed=question.allowed)
    return ndcg(hits_of(lists, question.relevant), np.diff(question.relevant.indptr), DEPTH)
