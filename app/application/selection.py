"""Choosing a recipe: which recommenders, with which parameters, blended with which weights (ADR 0005).

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

from app.application.blending import Question, ascend, pool
from app.application.evaluation import hits_of, take_rows, top_lists
from app.application.search_space import Shape, families
from app.domain.dataset import Dataset
from app.domain.exceptions import InputError, NotEnoughDataError
from app.domain.metrics import ndcg
from app.domain.recommender import Progress, Recommender, Recommenders
from app.domain.scaling import score_scale
from app.domain.splits import Cut, truncated, validation_cut

MEMBERS: Mapping[str, str] = {
    "collaborative": "ials",
    "content": "content",
    "sequential": "sequence",
    "popular": "popularity",
}
"""The `type` of the HTTP API and the command line → the recommender that answers it."""

_JUDGES = 2_000
_JUDGE_CELLS = 60_000_000
"""At most so many scores per trial (users x items), so that a trial stays within seconds on large catalogues."""

_KNOTS = (0, 1, 3, 10)
_DEPTH = 10


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train: `build(name, parameters)`. `table` has one row per candidate that was tried, for people."""

    name: str
    parameters: Mapping[str, object]
    table: Sequence[Mapping[str, object]] = ()


@dataclass(slots=True)
class _Search:
    """State of one selection: the cut, who is asked, what was tried, when to stop."""

    recommenders: Recommenders
    cut: Cut
    question: Question
    seed: int
    deadline: float
    progress: Progress
    table: list[dict[str, object]] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)

    def try_out(self, name: str, parameters: Mapping[str, object]) -> tuple[Recommender, float] | None:
        """Fit on the cut and judge; None where there is nothing to learn from."""
        began = time.monotonic()
        candidate = self.recommenders.build(name, parameters)
        try:
            candidate.fit(self.cut.train, seed=self.seed, progress=self._unheard)
        except NotEnoughDataError:
            return None
        value = float(_values(candidate, self.question).mean())
        self.spent[name] = time.monotonic() - began
        self.table.append(
            {
                "recommender": name,
                "parameters": dict(parameters),
                f"ndcg@{_DEPTH}": round(value, 5),
                "seconds": round(self.spent[name], 2),
            }
        )
        return candidate, value

    def _unheard(self, stage: str, fraction: float) -> None:
        # Only cancellation must get through; the fraction of one trial would jump about.
        self.progress("selection", self.share())

    def share(self) -> float:
        """How much of the trials are done, for people."""
        return min(0.95, len(self.table) / 12.0)

    def time_for(self, name: str) -> bool:
        """False where the family's last trial took longer than what is left."""
        return time.monotonic() + self.spent.get(name, 0.0) < self.deadline


def select(
    train: Dataset,
    recommenders: Recommenders,
    model_type: str,
    *,
    seed: int,
    budget_seconds: float,
    progress: Progress,
    start: Mapping[str, object] | None = None,
) -> Recipe:
    """The recipe for this training set, chosen on a validation cut of it within about `budget_seconds`.

    `model_type` is a recommender's name or one of MEMBERS. `start`: the parameters of the recipe that serves now,
    tried first. Raises InputError for an unknown type, NotEnoughDataError where nothing can be learnt.
    """
    name = MEMBERS.get(model_type, model_type)
    if name not in recommenders.names():
        raise InputError("unknown model type", "model_type")
    cut = validation_cut(train, seed=seed)
    if not len(cut.targets.items):
        raise NotEnoughDataError("no user has two items: nothing to choose a recommender on")
    deadline = time.monotonic() + budget_seconds
    search = _Search(recommenders, cut, _question(cut), seed, deadline, progress)
    # Many small solves: a threaded BLAS below them is slower than a single thread.
    with threadpool_limits(1, "blas"):
        space = families(Shape.of(train, timed=cut.by_time))
        if name != "hybrid":
            _, best = _best_of(search, name, [*_starting(start), *space.get(name, ({},))])
            return Recipe(name, best, tuple(search.table))
        return _blend(search, space, start)


def _starting(start: Mapping[str, object] | None) -> list[Mapping[str, object]]:
    return [] if start is None else [start]


def _question(cut: Cut) -> Question:
    """An even sample of the users with held-out pairs."""
    asked = np.flatnonzero(cut.targets.lengths > 0)
    limit = max(100, min(_JUDGES, _JUDGE_CELLS // max(cut.train.n_items, 1)))
    if len(asked) > limit:
        asked = asked[np.linspace(0, len(asked) - 1, limit).astype(np.int64)]
    n_items = cut.train.n_items
    histories = take_rows(cut.train.histories, asked)
    return Question(histories, histories.matrix(n_items), take_rows(cut.targets, asked).matrix(n_items).astype(bool))


def _values(recommender: Recommender, question: Question) -> NDArray[np.float64]:
    lists, _ = top_lists(recommender, question.histories, _DEPTH, hidden=question.hidden)
    return ndcg(hits_of(lists, question.relevant), np.diff(question.relevant.indptr), _DEPTH)


def _best_of(
    search: _Search, name: str, candidates: Sequence[Mapping[str, object]]
) -> tuple[Recommender | None, Mapping[str, object]]:
    """The best of these parameter sets: fitted on the cut, and its parameters."""
    best: tuple[Recommender | None, Mapping[str, object], float] = (None, {}, -1.0)
    for parameters in candidates:
        if best[0] is not None and not search.time_for(name):
            break
        tried = search.try_out(name, parameters)
        search.progress("selection", search.share())
        if tried is not None and tried[1] > best[2]:
            best = (tried[0], parameters, tried[1])
    return best[0], best[1]


def _blend(
    search: _Search, space: Mapping[str, Sequence[Mapping[str, object]]], start: Mapping[str, object] | None
) -> Recipe:
    """Members at their best parameters, then weights: for whole histories first, then for ever shorter ones."""
    members: dict[str, Recommender] = {}
    parameters: dict[str, Mapping[str, object]] = {}
    before = start.get("members") if start is not None else None
    for name, candidates in space.items():
        known = [before[name]] if isinstance(before, Mapping) and name in before else []
        member, best = _best_of(search, name, [*known, *(c for c in candidates if c not in known)])
        if member is not None:
            members[name], parameters[name] = member, best
    if not members:
        raise NotEnoughDataError("nothing can be learnt from these interactions")
    scales = {name: score_scale(member, search.cut.train.histories) for name, member in members.items()}
    knots, weights = _weights_by_length(search, members, scales)
    used = [name for name in members if any(weights[name])]
    blend = {
        "members": {name: dict(parameters[name]) for name in used},
        "weights": {name: weights[name] for name in used},
        "knots": knots,
    }
    return Recipe("hybrid", blend, tuple(search.table))


def _weights_by_length(
    search: _Search, members: Mapping[str, Recommender], scales: Mapping[str, float]
) -> tuple[list[int], dict[str, list[float]]]:
    """(rising knots, member → weight at each knot)."""
    whole = search.question
    typical = int(np.median(whole.histories.lengths)) if len(whole.histories) else 0
    knots = [knot for knot in _KNOTS if knot < typical / 1.5]
    lengths = [*knots, max(typical, 1 + max(knots, default=-1))]
    found: list[dict[str, float]] = []
    weights: dict[str, float] | None = None
    for length in reversed(lengths):
        shown = whole.histories if length == lengths[-1] else truncated(whole.histories, length)
        weights, value = ascend(pool(members, scales, Question(shown, whole.hidden, whole.relevant)), weights)
        search.table.append(
            {"recommender": "blend", "history": length, "weights": dict(weights), f"ndcg@{_DEPTH}": round(value, 5)}
        )
        found.insert(0, weights)
    return lengths, {name: [row[name] for row in found] for name in members}
