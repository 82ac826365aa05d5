"""Which recipe is chosen, and what the gate makes of poisoned trainings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.application.evaluation.blending import CandidatePool, coordinate_ascent, proven
from app.application.evaluation.evaluation import Evaluation, evaluate
from app.application.evaluation.hold_out import HoldOut
from app.application.evaluation.new_items import evenly
from app.application.evaluation.search import Search
from app.application.evaluation.search_space import DatasetShape, Family, families
from app.application.evaluation.selection import select
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


def searching(data: Dataset, best: float = 0.0) -> Search:
    asked = selection_queries(data, seed=0)
    assert asked is not None
    return Search(RECOMMENDERS, asked, seed=0, deadline=float("inf"), progress=silent, best=best)


@pytest.mark.parametrize("best", [0.0, 2.0])
def test_an_economy_is_no_verdict_the_family_is_fitted_whole_however_far_behind_it_seems(best: float) -> None:
    search = searching(tastes(), best)
    found = search.best_of(Family("ials", [{"factors": 8}], trial={"epochs": 1}))
    assert found is not None
    assert found.parameters == {"factors": 8}
    assert search.table[-1]["parameters"] == {"factors": 8}


def test_where_the_trial_was_better_than_the_whole_fit_the_trial_is_trained() -> None:
    search = searching(tastes())
    # "Economies" that help and a whole fit that cannot learn: the better of the two must be the recipe.
    found = search.best_of(Family("ials", [{"factors": 1, "epochs": 1}], trial={"factors": 8, "epochs": 8}))
    assert found is not None
    assert found.parameters == {"factors": 8, "epochs": 8}


def test_sizes_are_climbed_while_each_pays_and_no_further() -> None:
    search = searching(tastes())
    family = Family("graph", [{"factors": 1}], sizes=[{"factors": factors} for factors in (4, 8, 16, 32)])
    found = search.best_of(family)
    assert found is not None
    tried = [row["parameters"]["factors"] for row in search.table]  # type: ignore[index] # a mapping
    values = [float(str(row["ndcg@20"])) for row in search.table]
    gains = np.diff(values) / np.array(values[:-1])
    assert tried[:2] == [1, 4]
    assert (gains[:-1] >= 0.009).all(), "every size but the last one tried has paid"
    assert found.value == pytest.approx(max(values), abs=1e-5)
    assert len(tried) < 5, "four groups need no 32 factors"


def test_what_only_scoring_depends_on_is_tried_without_another_fit() -> None:
    search = searching(tastes())
    found = search.best_of(Family("rp3", [{}], readings=[{"decay": 0.5}, {"decay": 0.1}]))
    assert found is not None
    assert [row["parameters"] for row in search.table] == [{}, {"decay": 0.5}, {"decay": 0.1}] or len(search.table) == 3
    fresh = fitted(search.asked.train, "rp3", dict(found.parameters))
    histories = search.asked.whole.histories
    np.testing.assert_array_equal(found.recommender.score(histories), fresh.score(histories))


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


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        *(("collaborative", "ials"), ("popular", "popularity"), ("rp3", "rp3")),
        *(("als", "als"), ("bpr", "bpr"), ("transitions", "transitions")),
    ],
)
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


def test_what_learns_example_by_example_is_tried_where_the_budget_allows_it() -> None:
    def tried(n_pairs: int, budget: float) -> set[str]:
        shape = DatasetShape(
            900, 1_600, n_pairs, timed=False, clocked=False, weighted=False, item_features=True, user_features=True
        )
        return {family.name for family in families(shape, (), budget)}

    assert {"bpr", "lightfm"} <= tried(100_000, 120.0)
    assert not {"bpr", "lightfm"} & tried(1_000_000, 120.0)
    assert {"bpr", "lightfm"} <= tried(1_000_000, 1_200.0)
    assert "als" not in tried(100_000, 120.0)


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


STEPS = (0.25, 0.5, 0.75, 1.0)


def test_two_half_right_members_are_blended_and_a_useless_one_is_left_out() -> None:
    rng = np.random.default_rng(0)
    right = np.zeros((400, 30), dtype=bool)
    right[np.arange(400), rng.integers(0, 30, 400)] = True
    first, second, useless = (rng.normal(0, 1, (400, 30)) for _ in range(3))
    scores = np.stack([right + first, right + second, useless]).astype(np.float32)
    pool = CandidatePool(("a", "b", "noise"), scores, np.ones_like(right), right, np.ones(400, dtype=np.int64))
    weights, value = coordinate_ascent(pool)
    assert value > 1.1 * max(pool.value({"a": 1.0}), pool.value({"b": 1.0}))
    grid = [{"a": a, "b": b, "noise": c} for a in STEPS for b in STEPS for c in (0.0, *STEPS)]
    assert value >= 0.99 * max(pool.value(weights) for weights in grid)
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


def test_where_popularity_is_the_truth_popularity_serves_for_every_seed() -> None:
    rng = np.random.default_rng(5)
    chance = 1.0 / np.arange(1, 61)
    rows = [[(int(i), 1.0) for i in rng.choice(60, 8, replace=False, p=chance / chance.sum())] for _ in range(300)]
    data = dataset(rows, 60, features=False, profiles=False)
    data.histories.times[:] = 0.0
    for seed in range(3):
        recipe = select(data, RECOMMENDERS, "hybrid", seed=seed, budget_seconds=60, progress=silent)
        assert recipe.parameters["members"] == {"popularity": {}}


def test_a_blend_found_by_chance_gives_way_to_the_simpler_member() -> None:
    """Weights that fit these users' luck: on the other half of them they are worth nothing."""
    rng = np.random.default_rng(1)
    right = np.zeros((60, 30), dtype=bool)
    right[np.arange(60), rng.integers(0, 30, 60)] = True
    scores = np.stack([right + rng.normal(0, 1, right.shape), rng.normal(0, 1, right.shape)]).astype(np.float32)
    lucky = CandidatePool(("popularity", "noise"), scores, np.ones_like(right), right, np.ones(60, dtype=np.int64))
    assert proven(lucky, {"popularity": 1.0, "noise": 0.1}) == {"popularity": 1.0, "noise": 0.0}


def test_a_blend_that_gains_on_users_it_was_not_chosen_on_stays() -> None:
    rng = np.random.default_rng(2)
    right = np.zeros((600, 30), dtype=bool)
    right[np.arange(600), rng.integers(0, 30, 600)] = True
    scores = np.stack([right + rng.normal(0, 1, right.shape) for _ in range(2)]).astype(np.float32)
    both = CandidatePool(("a", "b"), scores, np.ones_like(right), right, np.ones(600, dtype=np.int64))
    weights, _ = coordinate_ascent(both)
    assert proven(both, weights) == weights


def test_judges_are_more_where_each_has_one_target() -> None:
    users = np.arange(10_000)
    assert len(evenly(users, n_items=1_000, targets=1.0)) == 6_000
    assert len(evenly(users, n_items=1_000, targets=2.0)) == 3_000
    assert len(evenly(users, n_items=1_000, targets=10.0)) == 1_500
    assert len(evenly(users, n_items=400_000, targets=10.0)) == 150


def test_signals_that_hardly_differ_are_no_reason_to_learn_from_their_strength() -> None:
    data = tastes()
    fading = replace(data.histories, weights=np.linspace(0.95, 1.0, len(data.histories.weights)).astype(np.float32))
    assert not DatasetShape.of(replace(data, histories=fading), timed=True, clocked=True).weighted
    strong = replace(data.histories, weights=np.where(np.arange(len(fading.weights)) % 2, 1.5, 0.3).astype(np.float32))
    assert DatasetShape.of(replace(data, histories=strong), timed=True, clocked=True).weighted


def test_people_who_went_on_are_also_asked_just_before_their_newest_like() -> None:
    data = by_the_clock(returning=80, arriving=0)
    firsts = data.histories.indptr[:80]
    data.histories.times[firsts + 1] = 9.2 * 86_400.0 - 1.0
    asked = selection_queries(data, 0)
    assert asked is not None
    known = asked.train.histories.lengths
    frozen = int(((known > 0) & (known < data.histories.lengths)).sum())
    again = np.flatnonzero((known > 0) & (data.histories.lengths - known > 1))
    assert len(asked.whole.histories) == frozen + len(again)
    assert set(range(80)) <= set(again.tolist())
    fresh = asked.whole.histories.rows(frozen, frozen + len(again))
    newest = data.histories.items[data.histories.indptr[again]]
    np.testing.assert_array_equal(asked.whole.relevant[frozen:].indices, newest)
    assert (fresh.lengths == data.histories.lengths[again] - 1).all()


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
