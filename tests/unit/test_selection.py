"""Which recipe is chosen, and what the gate makes of poisoned trainings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.application.evaluation.blending import CandidatePool, coordinate_ascent
from app.application.evaluation.evaluation import Evaluation, evaluate
from app.application.evaluation.hold_out import HoldOut
from app.application.evaluation.search_space import DatasetShape, Family, families
from app.application.evaluation.selection import Search, select
from app.application.evaluation.selection_queries import selection_queries
from app.domain.dataset import Dataset, Histories
from app.domain.exceptions import InputError, NotEnoughDataError, TrainingError
from app.domain.gate import GatePolicy, decide_promotion
from app.domain.recommender import Recommender
from app.domain.splits import validation_cut
from app.models import RECOMMENDERS
from tests.unit.models.data import checkerboard, dataset, random_set, silent


def choose(data: Dataset, model_type: str = "hybrid", **others: object) -> tuple[str, dict[str, object]]:
    recipe = select(data, RECOMMENDERS, model_type, seed=0, budget_seconds=60, progress=silent, **others)  # type: ignore[arg-type] # `start`
    return recipe.name, dict(recipe.parameters)


def fitted(data: Dataset, name: str, parameters: dict[str, object]) -> Recommender:
    recommender = RECOMMENDERS.build(name, parameters)
    recommender.fit(data, seed=0, progress=silent)
    return recommender


def tastes(n_users: int = 120, n_items: int = 80, groups: int = 4, seed: int = 1) -> Dataset:
    """Users of a group like its items, most of all those that come first in it."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        own = np.arange(user % groups, n_items, groups)
        chance = 1.0 / np.arange(1, len(own) + 1) ** 0.5
        rows.append([(int(item), 1.0) for item in rng.choice(own, 10, replace=False, p=chance / chance.sum())])
    return dataset(rows, n_items, features=False, profiles=False)


def test_what_is_chosen_beats_popularity_where_there_are_tastes() -> None:
    data = tastes()
    name, parameters = choose(data)
    held = held_out(data)
    chosen, popular = (
        evaluate(fitted(held[0], *recipe), held[0], held[1], seed=0, progress=silent).mean("ndcg@10")
        for recipe in ((name, parameters), ("popularity", {}))
    )
    assert name == "hybrid"
    assert chosen > 1.5 * popular


def test_the_same_data_and_seed_give_the_same_recipe() -> None:
    assert choose(tastes()) == choose(tastes())


@pytest.mark.parametrize(("best", "trained"), [(0.0, {"factors": 8}), (2.0, {"factors": 8, "epochs": 2})])
def test_a_family_far_behind_is_trained_with_the_economies_it_was_judged_with(
    best: float, trained: dict[str, object]
) -> None:
    data = tastes()
    asked = selection_queries(data, seed=0)
    assert asked is not None
    search = Search(RECOMMENDERS, asked, seed=0, deadline=float("inf"), progress=silent, best=best)
    found = search.best_of(Family("ials", [{"factors": 8}], trial={"epochs": 2}))
    assert found is not None
    assert found.parameters == trained


def test_a_family_that_was_trained_with_economies_gets_its_own_size_again() -> None:
    family = Family("ials", [{"factors": 8, "alpha": 0.1}], trial={"factors": 4, "epochs": 2})
    assert family.without_economies({"factors": 4, "epochs": 2, "alpha": 0.2}) == {"factors": 8, "alpha": 0.2}


def test_the_second_training_starts_from_the_recipe_of_the_first_and_tries_no_more() -> None:
    data = tastes()
    first = select(data, RECOMMENDERS, "hybrid", seed=0, budget_seconds=60, progress=silent)
    second = select(data, RECOMMENDERS, "hybrid", seed=0, budget_seconds=60, progress=silent, start=first.parameters)
    assert len(second.table) < len(first.table)
    members, again = first.parameters["members"], second.parameters["members"]
    assert isinstance(members, dict)
    assert isinstance(again, dict)
    assert {name: again[name] for name in members if name in again} == {n: m for n, m in members.items() if n in again}


def test_the_recipe_builds_and_every_member_weighs_something() -> None:
    _, parameters = choose(checkerboard())
    weights = parameters["weights"]
    assert isinstance(weights, dict)
    assert all(any(row) for row in weights.values())
    fitted(checkerboard(), "hybrid", parameters)


def test_without_a_history_only_priors_speak() -> None:
    _, parameters = choose(tastes())
    blend = RECOMMENDERS.build("hybrid", parameters)
    blend.fit(tastes(), seed=0, progress=silent)
    nobody = Histories.single([], [], [], 0.0)
    assert blend.score(nobody).std() > 0


@pytest.mark.parametrize(("asked", "name"), [("collaborative", "ials"), ("popular", "popularity"), ("rp3", "rp3")])
def test_a_single_type_is_chosen_alone(asked: str, name: str) -> None:
    assert choose(tastes(), asked)[0] == name


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(InputError):
        choose(tastes(), "oracle")


def test_where_nobody_has_two_likes_the_blend_is_popularity() -> None:
    name, parameters = choose(dataset([[(user % 5, 1.0)] for user in range(50)], 5, features=False))
    assert (name, parameters["members"], parameters["weights"]) == ("hybrid", {"popularity": {}}, {"popularity": [1.0]})


def test_where_nobody_likes_anything_nothing_is_trained() -> None:
    data = dataset([[(0, -1.0)], [(1, -1.0)]], 5, features=False)
    recipe = choose(data)
    with pytest.raises(NotEnoughDataError):
        fitted(data, *recipe)


def test_users_of_two_groups_and_users_with_one_item_are_no_obstacle() -> None:
    rows = [[(item, 1.0) for item in range(user % 2, 12, 2)][: 1 + user % 5] for user in range(60)]
    name, parameters = choose(dataset(rows, 12, features=False))
    fitted(dataset(rows, 12, features=False), name, parameters)


def test_the_serving_recipe_is_tried_beside_the_others() -> None:
    data = tastes()
    start = {"members": {"rp3": {"beta": 0.9, "neighbours": 7}}}
    recipe = select(data, RECOMMENDERS, "hybrid", seed=0, budget_seconds=60, progress=silent, start=start)
    tried = [row["parameters"] for row in recipe.table if row["recommender"] == "rp3"]
    assert {"beta": 0.9, "neighbours": 7} in tried


def test_without_times_nothing_that_reads_them_is_tried() -> None:
    data = tastes()
    data.histories.times[:] = 0.0
    recipe = select(data, RECOMMENDERS, "hybrid", seed=0, budget_seconds=60, progress=silent)
    assert not {"sequence", "trending"} & {str(row["recommender"]) for row in recipe.table}


def test_large_catalogs_get_no_squares() -> None:
    huge = DatasetShape(
        50_000, 200_000, 2_000_000, timed=True, clocked=True, weighted=False, item_features=True, user_features=False
    )
    tried = {family.name: family for family in families(huge)}
    assert "ease" not in tried
    assert all(rung["factors"] for rung in tried["sequence"].ladder)


def test_the_transformer_is_tried_last_where_it_was_asked_for_and_times_tell() -> None:
    small = DatasetShape(
        900, 1_600, 100_000, timed=True, clocked=True, weighted=False, item_features=True, user_features=False
    )
    assert "transformer" not in {family.name for family in families(small)}
    assert [family.name for family in families(small, {"transformer"})][-1] == "transformer"
    untimed = replace(small, timed=False)
    assert "transformer" not in {family.name for family in families(untimed, {"transformer"})}


def test_small_data_are_read_more_often_by_a_transformer() -> None:
    def epochs(n_pairs: int) -> object:
        shape = DatasetShape(
            900, 1_600, n_pairs, timed=True, clocked=True, weighted=False, item_features=False, user_features=False
        )
        return families(shape, {"transformer"})[-1].ladder[0]["epochs"]

    assert [epochs(n_pairs) for n_pairs in (0, 100_000, 1_000_000, 100_000_000)] == [40, 40, 8, 2]


def test_two_half_right_members_are_blended_and_a_useless_one_is_left_out() -> None:
    rng = np.random.default_rng(0)
    right = np.zeros((400, 30), dtype=bool)
    right[np.arange(400), rng.integers(0, 30, 400)] = True
    first, second, useless = (rng.normal(0, 1, (400, 30)) for _ in range(3))
    scores = np.stack([right + first, right + second, useless]).astype(np.float32)
    pool = CandidatePool(("a", "b", "noise"), scores, np.ones_like(right), right, np.ones(400, dtype=np.int64))
    weights, value = coordinate_ascent(pool)
    assert value > 1.1 * max(pool.value({"a": 1.0}), pool.value({"b": 1.0}))
    assert weights["a"] == pytest.approx(weights["b"], rel=0.6)
    assert weights["noise"] <= 0.1


def test_what_few_users_show_by_chance_is_no_reason_to_blend() -> None:
    """The second member is worth nothing; among 12 users it gains a hit somewhere, among 400 it must not matter."""
    rng = np.random.default_rng(3)
    chosen = []
    for users in range(20):
        right = np.zeros((12, 30), dtype=bool)
        right[np.arange(12), rng.integers(0, 30, 12)] = True
        scores = np.stack([2.0 * right + rng.normal(0, 1, right.shape), rng.normal(0, 1, right.shape)])
        pool = CandidatePool(
            ("good", f"noise-{users}"), scores.astype(np.float32), np.ones_like(right), right, np.ones(12, np.int64)
        )
        chosen.append(coordinate_ascent(pool)[0])
    assert [weights["good"] for weights in chosen] == [1.0] * 20
    assert sum(weight > 0 for weights in chosen for name, weight in weights.items() if name != "good") <= 3


def by_the_clock(returning: int = 80, arriving: int = 25) -> Dataset:
    """Users of nine days; in the newest tenth of the events, all after 9.2 days, some go on and others begin."""
    rows, times = [], []
    for user in range(200 + arriving):
        start = 0.2 * (user % 40) if user < 200 else 9.2
        more = 1 if user < returning else 0
        rows.append([(item, 1.0) for item in range(user % 5, 60, 5)][: 8 + more])
        times += [9.2 + 0.01 * step for step in range(more)][::-1] + [start + 0.01 * step for step in range(8)][::-1]
    data = dataset(rows, 60, features=False)
    data.histories.times[:] = np.array(times) * 86_400.0
    return data


def test_where_time_runs_for_all_alike_the_question_is_what_comes_after_one_moment() -> None:
    data = by_the_clock()
    asked = selection_queries(data, 0)
    assert asked is not None
    assert asked.has_clock
    assert len(asked.whole.histories) == 80
    assert asked.train.histories.times.max() < 9.2 * 86_400
    assert asked.short[0].relevant.shape[0] == 25


def test_where_hardly_anybody_comes_back_each_users_own_newest_are_the_question() -> None:
    asked = selection_queries(by_the_clock(returning=20, arriving=0), 0)
    assert asked is not None
    assert len(asked.whole.histories) > 100


def test_what_is_in_fashion_is_tried_where_moments_are_known_even_if_they_order_no_history() -> None:
    data = by_the_clock()
    data.histories.times[:] = np.floor(data.histories.times / 86_400.0) * 86_400.0
    recipe = select(data, RECOMMENDERS, "hybrid", seed=0, budget_seconds=60, progress=silent)
    tried = {str(row["recommender"]) for row in recipe.table}
    assert "trending" in tried
    assert "sequence" not in tried


# ── poisoned trainings never serve ───────────────────────────────────────────────────────────────────────────────────


def held_out(data: Dataset) -> tuple[Dataset, HoldOut]:
    """The set without each user's newest likes, and these as a hold-out."""
    cut = validation_cut(data)
    n_items = data.n_items
    unrankable = np.zeros(data.n_users, dtype=np.int64)
    relevant = cut.targets.matrix(n_items).astype(bool)
    return cut.train, HoldOut(data.users.ids, cut.train.histories, relevant, unrankable)


def judged(poisoned: Dataset, healthy: Dataset) -> tuple[Evaluation, Evaluation, Evaluation]:
    """(candidate learnt from poisoned data, champion and popularity learnt from healthy ones), on the same hold-out."""
    train, held = held_out(healthy)
    parameters: dict[str, object] = {"factors": 8, "epochs": 8}
    candidate = fitted(poisoned, "ials", parameters)
    champion = fitted(train, "ials", parameters)
    popularity = fitted(train, "popularity", {})
    first, second, third = (
        evaluate(one, train, held, seed=0, progress=silent) for one in (candidate, champion, popularity)
    )
    return first, second, third


def with_items(data: Dataset, items: np.ndarray) -> Dataset:
    return replace(data, histories=replace(data.histories, items=items.astype(np.int32)))


def test_the_healthy_champion_itself_would_pass_as_the_first_model() -> None:
    data = tastes()
    candidate, _, popularity = judged(held_out(data)[0], data)
    assert decide_promotion(candidate, None, popularity, GatePolicy()).promote


def test_shuffled_labels_are_refused() -> None:
    data = tastes()
    train = held_out(data)[0]
    shuffled = np.random.default_rng(0).permutation(train.histories.items)
    candidate, champion, popularity = judged(with_items(train, shuffled), data)
    verdict = decide_promotion(candidate, champion, popularity, GatePolicy())
    assert not verdict.promote
    assert not decide_promotion(candidate, None, popularity, GatePolicy()).promote
    assert "popularity" in " ".join(verdict.reasons)


def test_one_item_everywhere_is_refused() -> None:
    data = tastes()
    train = held_out(data)[0]
    items = train.histories.items.copy()
    items[train.histories.indptr[:-1]] = 79
    items[train.histories.indptr[:-1] + 1] = 79
    candidate, champion, popularity = judged(with_items(train, items), data)
    assert not decide_promotion(candidate, champion, popularity, GatePolicy()).promote


def test_a_tenth_of_the_catalog_is_refused() -> None:
    data = tastes()
    train = held_out(data)[0]
    candidate, champion, popularity = judged(with_items(train, train.histories.items % 8), data)
    verdict = decide_promotion(candidate, champion, popularity, GatePolicy())
    assert not verdict.promote
    assert any("catalog" in reason for reason in verdict.reasons)


def test_weights_that_are_no_numbers_never_become_a_model() -> None:
    data = random_set()
    data.histories.weights[3] = np.nan
    with pytest.raises(TrainingError):
        choose(data)


def test_a_clock_in_the_future_does_not_let_a_few_events_outshine_all_others() -> None:
    data = tastes()
    train, held = held_out(data)
    times = train.histories.times.copy()
    # One user's clock is ten years ahead: for everything that forgets, all other events are ancient.
    times[: train.histories.lengths[0]] += 3_650 * 86_400.0
    skewed = replace(train, histories=replace(train.histories, times=times, now=float(times.max())))
    candidate = evaluate(fitted(skewed, "trending", {}), train, held, seed=0, progress=silent)
    champion, popularity = (
        evaluate(fitted(train, name, {}), train, held, seed=0, progress=silent) for name in ("ials", "popularity")
    )
    assert not decide_promotion(candidate, champion, popularity, GatePolicy()).promote
