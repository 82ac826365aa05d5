"""Choosing a recipe: which recommenders, with which parameters, blended with which weights (ADR 0003).

Everything is decided on a cut of the training set: a few pairs of each user are held out, candidates are fitted on the
rest, and what ranks the held-out pairs best among all items wins.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from app.application.evaluation.blending import DEPTH, PLAIN, candidate_pool, coordinate_ascent, proven
from app.application.evaluation.cold_weights import learn_placing, least_shares, weights_of_new_items
from app.application.evaluation.search import Search, Trial, spent
from app.application.evaluation.search_space import PRIOR_FAMILIES, DatasetShape, Family, Parameters, families
from app.application.evaluation.selection_queries import selection_queries
from app.domain.blend_policy import BlendPolicy, raised
from app.domain.dataset import Dataset
from app.domain.exceptions import InputError, NotEnoughDataError
from app.domain.recommender import MEMBER_OF_TYPE, PlacesNew, ProgressCallback, Recommender, Recommenders
from app.domain.scaling import score_scale

_CHEAP_AND_NEEDED = frozenset({"content"})
"""Tried when the time is up, too, where items have features: nothing else may place those that nobody touched."""

_CONTENT_ALONE = 0.02

CHOSEN = BlendPolicy()
"""Nobody has set any weights."""


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
    progress: ProgressCallback,
    start: Mapping[str, object] | None = None,
    blend: BlendPolicy = CHOSEN,
) -> Recipe:
    """The recipe for this training set, chosen on a validation cut of it.

    `budget_seconds` of processor time bound the trials; a last one may run over.

    `model_type`: a recommender's name or one of MEMBER_OF_TYPE. `start`: the parameters of the recipe that serves now,
    tried beside the others. `blend`: weights of a hybrid that people set.
    Where nobody has two likes there is nothing to choose on, and a hybrid is popularity.
    Raises InputError for an unknown type, NotEnoughDataError where nothing can be learnt.
    """
    name = MEMBER_OF_TYPE.get(model_type, model_type)
    if name not in recommenders.names():
        raise InputError("unknown model type", "model_type")
    asked = selection_queries(train, seed)
    if asked is None:
        return _popular(train, blend) if name == "hybrid" else Recipe(name, {})
    search = Search(recommenders, asked, seed, spent() + budget_seconds, progress)
    shape = DatasetShape.of(train, timed=asked.by_time, clocked=asked.has_clock)
    space = families(shape, {name, *recommenders.optional()}, budget_seconds)
    if name == "hybrid":
        return _blend(search, _with_members(space, blend), start, blend)
    family = next((one for one in space if one.name == name), Family(name))
    best = search.best_of(family, start)
    return Recipe(name, {} if best is None else best.parameters, tuple(search.table))


def _with_members(space: Sequence[Family], blend: BlendPolicy) -> Sequence[Family]:
    """What to try: these alone where weights are fixed; and what people want that nothing else would try."""
    wanted = [one for one in space if not blend.fixed or one.name in blend.fixed]
    known = {one.name for one in wanted}
    return [*wanted, *(Family(name) for name in sorted(blend.members - known))]


def _by_hand(found: Mapping[str, Parameters], blend: BlendPolicy, table: Sequence[Mapping[str, object]]) -> Recipe:
    """The blend of these members at the weights that are set, whatever the length of a history."""
    row = {"recommender": "blend", "history": "set by hand", "weights": dict(blend.fixed)}
    weights = {name: [round(blend.fixed[name], 5)] for name in found}
    parameters = {"members": {name: dict(given) for name, given in found.items()}, "weights": weights, "knots": [0]}
    return Recipe("hybrid", parameters, (*table, row))


def _popular(train: Dataset, blend: BlendPolicy, table: Sequence[Mapping[str, object]] = ()) -> Recipe:
    """What is left where no question tells candidates apart; content places what has no likes yet."""
    if blend.members:
        return _by_hand({name: {} for name in blend.fixed or blend.floors}, _as_fixed(blend), table)
    weights = {PLAIN: [1.0]}
    if train.item_features is not None and train.item_features.matrix.nnz:
        weights["content"] = [_CONTENT_ALONE]
    return Recipe("hybrid", {"members": {name: {} for name in weights}, "weights": weights, "knots": [0]}, tuple(table))


def _as_fixed(blend: BlendPolicy) -> BlendPolicy:
    """Floors as weights, for want of anything to choose by."""
    return blend if blend.fixed else BlendPolicy.of(blend.floors, {})


def _blend(search: Search, space: Sequence[Family], start: Mapping[str, object] | None, policy: BlendPolicy) -> Recipe:
    """Members at their best parameters, then weights: for whole histories first, then for ever shorter ones."""
    found = _members(search, space, start, policy.members)
    if not found:
        raise NotEnoughDataError("nothing can be learnt from these interactions")
    if missing := policy.members - set(found):
        raise NotEnoughDataError(
            f"weights are set for what cannot be learnt from these data: {', '.join(sorted(missing))}"
        )
    if policy.fixed:
        return _by_hand({name: found[name].parameters for name in policy.fixed}, policy, search.table)
    members = {name: trial.recommender for name, trial in found.items()}
    # Matrix times vector, many times over: a threaded BLAS below it is slower than one thread.
    with threadpool_limits(1, "blas"):
        scales = {name: score_scale(member, search.asked.train.histories) for name, member in members.items()}
    knots, weights = _weights_by_length(search, members, scales)
    cold = weights_of_new_items(search, members, scales, {name: row[-1] for name, row in weights.items()})
    if cold is None and search.asked.train.item_features is not None:
        weights = least_shares(weights)
    if policy.floors:
        weights, factor = raised(weights, policy.floors)
        cold = None if cold is None else {name: round(weight * factor, 5) for name, weight in cold.items()}
        search.table.append(
            {"recommender": "blend", "history": "with floors", "weights": {n: w[-1] for n, w in weights.items()}}
        )
    used = [name for name in members if any(weights[name]) or (cold or {}).get(name)]
    if not any(any(weights[name]) for name in used):
        return _popular(search.asked.train, policy, search.table)
    blend: dict[str, object] = {
        "members": {name: dict(found[name].parameters) for name in used},
        "weights": {name: weights[name] for name in used},
        "knots": knots,
    }
    if cold is not None:
        blend["cold"] = {name: cold.get(name, 0.0) for name in used}
    return Recipe("hybrid", blend, tuple(search.table))


def _members(
    search: Search, space: Sequence[Family], start: Mapping[str, object] | None, wanted: Collection[str]
) -> dict[str, Trial]:
    before = start.get("members") if start is not None else None
    found: dict[str, Trial] = {}
    has_features = search.asked.train.item_features is not None
    for family in space:
        is_needed = family.name in wanted or (family.name in _CHEAP_AND_NEEDED and has_features)
        if found and search.is_over() and not is_needed:
            continue
        known = before.get(family.name) if isinstance(before, Mapping) else None
        best = search.best_of(family, known)
        if best is not None:
            found[family.name] = learn_placing(search, family, best)
    return found


def _weights_by_length(
    search: Search, members: Mapping[str, Recommender], scales: Mapping[str, float]
) -> tuple[list[int], dict[str, list[float]]]:
    """(rising knots, member → weight at each knot)."""
    questions = {**search.asked.short, search.asked.length: search.asked.whole}
    lengths = list(questions)
    found: list[dict[str, float]] = []
    weights: dict[str, float] | None = None
    names = tuple(members)
    kept = {name for name, member in members.items() if name in PRIOR_FAMILIES or isinstance(member, PlacesNew)}
    # Where two members say the same, the first to be weighed gets the weight: the one that also places new items.
    members = dict(sorted(members.items(), key=lambda one: one[0] not in kept))
    for length in reversed(lengths):
        asked = candidate_pool(members, scales, questions[length])
        weights, value = coordinate_ascent(asked, weights)
        if length == lengths[-1]:
            weights = proven(asked, weights)
            value = asked.value(weights)
            # What adds nothing to whole histories is not worth fitting and serving for the sake of short ones.
            members = {name: one for name, one in members.items() if weights[name] or name in kept}
        found.insert(0, weights)
        row = {"recommender": "blend", "history": length, "weights": dict(weights), f"ndcg@{DEPTH}": round(value, 5)}
        search.table.append(row)
        search.progress("selection", 0.95)
    return lengths, {name: [row.get(name, 0.0) for row in found] for name in names}
