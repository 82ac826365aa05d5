"""What every recommender must do (the contract in app/domain/recommender.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

import numpy as np
import pytest
import scipy.sparse as sp

from app.domain.dataset import Dataset, Histories
from app.domain.exceptions import (
    ArtifactDamagedError,
    InputError,
    NotEnoughDataError,
    TrainingCancelledError,
    TrainingError,
)
from app.domain.recommender import Blended, Recommender, Tower
from app.models import RECOMMENDERS
from app.models.lightfm import LightfmParameters, LightfmRecommender, train_lightfm
from tests.unit.models.data import (
    HYBRID,
    PARAMETERS,
    checkerboard,
    dataset,
    drawn_transformer,
    history,
    needs_torch,
    random_set,
    silent,
    without,
)

NAMES = RECOMMENDERS.names()
PERSONAL = [name for name in NAMES if name not in {"popularity", "trending", "profile"}]
PLACES_NEW_ITEMS = {"ials", "content", "hybrid", "lightfm"}


def learning(names: Sequence[str]) -> list[object]:
    """Parameters of a test that fits. In the others weights drawn at random stand for what torch would have learnt."""
    return [pytest.param(name, marks=needs_torch) if name == "transformer" else name for name in names]


def fitted(name: str, data: Dataset, seed: int = 0) -> Recommender:
    recommender = RECOMMENDERS.build(name, PARAMETERS[name])
    recommender.fit(data, seed=seed, progress=silent)
    return recommender


@pytest.fixture(scope="module", params=NAMES)
def trained(request: pytest.FixtureRequest) -> Recommender:
    if request.param == "transformer" and find_spec("torch") is None:
        return drawn_transformer(20)
    return fitted(request.param, random_set())


def test_the_suite_knows_parameters_for_every_recommender() -> None:
    assert set(NAMES) == set(PARAMETERS)


@pytest.mark.parametrize("name", learning(NAMES))
def test_a_second_fit_with_the_same_seed_gives_the_same_arrays_bit_for_bit(name: str) -> None:
    first, second = (fitted(name, random_set(), seed=11).arrays() for _ in range(2))
    assert first.keys() == second.keys()
    for key, array in first.items():
        assert array.dtype != np.object_
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, second[key])


@pytest.mark.parametrize("name", learning(NAMES))
def test_fitting_leaves_the_training_set_as_it_was(name: str) -> None:
    data, untouched = random_set(), random_set()
    fitted(name, data)
    np.testing.assert_array_equal(data.histories.items, untouched.histories.items)
    np.testing.assert_array_equal(data.histories.weights, untouched.histories.weights)


def test_restored_scores_equal_saved_ones(trained: Recommender) -> None:
    parameters = json.loads(json.dumps(dict(trained.parameters())))
    restored = RECOMMENDERS.restore(trained.name, parameters, dict(trained.arrays()))
    batch = random_set().histories
    np.testing.assert_array_equal(restored.score(batch), trained.score(batch))
    assert restored.n_items == trained.n_items
    assert restored.name == trained.name


def test_a_score_does_not_depend_on_the_other_items_asked_for(trained: Recommender) -> None:
    batch = random_set(seed=9).histories
    items = np.array([5, 0, 19, 7], dtype=np.int32)
    np.testing.assert_allclose(trained.score(batch, items), trained.score(batch)[:, items], rtol=1e-4, atol=1e-5)


def test_a_history_scores_the_same_alone_and_in_a_batch(trained: Recommender) -> None:
    batch = random_set(seed=9).histories
    alone = np.concatenate([trained.score(batch.rows(row, row + 1)) for row in range(len(batch))])
    np.testing.assert_allclose(alone, trained.score(batch), rtol=1e-4, atol=1e-5)


def test_scores_are_finite_float32_for_empty_short_and_odd_histories(trained: Recommender) -> None:
    for odd in (
        history([]),
        history([3]),
        history([3], [0.0]),
        history([3], [-2.0]),
        history([3, 3], [1.0, 1.0]),
        history([1, 2], [1e30, 1.0]),
    ):
        scores = trained.score(odd)
        assert scores.shape == (1, trained.n_items)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()


def test_items_it_does_not_know_in_a_history_are_passed_over(trained: Recommender) -> None:
    known = trained.score(history([3, 4]))
    assert np.isfinite(trained.score(history([3, 4, trained.n_items + 5]))).all()
    assert known.shape == (1, trained.n_items)


@pytest.mark.parametrize("entries", [[], [4], [3, 8, 1], [2, 9, 4, 7, 0, 11, 15, 16]])
def test_contributions_sum_to_the_score(trained: Recommender, entries: list[int]) -> None:
    one = history(entries, [-1.0 if position == 1 else 1.0 for position in range(len(entries))])
    items = np.array([0, 6, 13], dtype=np.int32)
    parts = trained.contributions(one, items)
    assert parts.shape == (len(entries) + 1, 3)
    np.testing.assert_allclose(parts.sum(axis=0), trained.score(one, items)[0], rtol=1e-4, atol=1e-5)


def test_taking_an_entry_away_costs_exactly_its_contribution(trained: Recommender) -> None:
    one = history([2, 9, 4, 7, 0, 11], [1.0, 2.0, -1.0, 1.0, 0.5, 1.0])
    items = np.array([6, 13, 18], dtype=np.int32)
    parts, whole = trained.contributions(one, items), trained.score(one, items)[0]
    for position in range(6):
        less = trained.score(without(one, position), items)[0]
        np.testing.assert_allclose(whole - less, parts[position], rtol=1e-3, atol=2e-5)


def test_new_items_are_appended_and_the_others_keep_their_scores(trained: Recommender) -> None:
    features = sp.csr_matrix(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=np.float32))
    wider = trained.extended(features)
    one = history([2, 4, 7])
    assert wider.n_items == trained.n_items + 3
    np.testing.assert_allclose(wider.score(one)[:, :-3], trained.score(one), rtol=1e-5, atol=1e-6)
    assert np.isfinite(wider.score(one)).all()
    assert trained.n_items == 20
    again = wider.extended(features[:1])
    assert again.n_items == trained.n_items + 4
    assert np.isfinite(again.score(history([2, trained.n_items]))).all()
    restored = RECOMMENDERS.restore(again.name, again.parameters(), again.arrays())
    np.testing.assert_array_equal(restored.score(one), again.score(one))


@pytest.mark.parametrize("name", sorted(PLACES_NEW_ITEMS))
def test_a_new_item_is_placed_by_its_features(name: str) -> None:
    even, odd = sp.csr_matrix([[1.0, 0.0]], dtype=np.float32), sp.csr_matrix([[0.0, 1.0]], dtype=np.float32)
    wider = fitted(name, checkerboard()).extended(sp.vstack([even, odd]).tocsr())
    new = np.array([16, 17], dtype=np.int32)
    for_even, for_odd = wider.score(history([0, 2, 4]), new)[0], wider.score(history([1, 3, 5]), new)[0]
    assert for_even[0] > for_even[1]
    assert for_odd[1] > for_odd[0]


@pytest.mark.parametrize("name", learning(PERSONAL))
def test_on_a_checkerboard_everyone_gets_items_of_their_own_colour(name: str) -> None:
    data = checkerboard()
    scores = fitted(name, data).score(data.histories)
    rows = np.repeat(np.arange(len(data.histories)), data.histories.lengths)
    scores[rows, data.histories.items] = -np.inf
    best = np.argsort(-scores, axis=1)[:, :2]
    assert (best % 2 == (np.arange(len(best)) % 2)[:, None]).all()


@pytest.mark.parametrize("name", NAMES)
def test_one_user_and_one_item_are_enough_or_refused_in_words(name: str) -> None:
    try:
        only = fitted(name, dataset([[(0, 1.0)]], 1))
    except NotEnoughDataError:
        return
    assert np.isfinite(only.score(history([0]))).all()
    assert only.score(history([])).shape == (1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_liking_anything_is_refused(name: str) -> None:
    with pytest.raises(NotEnoughDataError):
        fitted(name, dataset([[(0, -1.0)], [(1, 0.0)]], 3))


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_not_finite_are_refused(name: str) -> None:
    with pytest.raises(TrainingError, match="finite"):
        fitted(name, dataset([[(0, float("nan")), (1, 1.0)], [(1, 1.0), (2, 1.0)]], 3))


@pytest.mark.parametrize("name", NAMES)
def test_a_cancelled_training_stops(name: str) -> None:
    def cancel(stage: str, fraction: float) -> None:
        raise TrainingCancelledError

    with pytest.raises(TrainingCancelledError):
        RECOMMENDERS.build(name, PARAMETERS[name]).fit(random_set(), seed=0, progress=cancel)


def test_damaged_arrays_are_refused(trained: Recommender) -> None:
    arrays = dict(trained.arrays())
    for key, array in arrays.items():
        broken = {**arrays, key: array.reshape(1, *array.shape)}
        with pytest.raises(ArtifactDamagedError):
            RECOMMENDERS.restore(trained.name, trained.parameters(), broken)
        missing = {name: kept for name, kept in arrays.items() if name != key}
        with pytest.raises(ArtifactDamagedError):
            RECOMMENDERS.restore(trained.name, trained.parameters(), missing)
        if np.issubdtype(array.dtype, np.floating) and array.size:
            poisoned = array.copy()
            poisoned.reshape(-1)[0] = np.nan
            with pytest.raises(ArtifactDamagedError):
                RECOMMENDERS.restore(trained.name, trained.parameters(), {**arrays, key: poisoned})


@pytest.mark.parametrize("name", NAMES)
def test_unknown_and_mistyped_parameters_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        RECOMMENDERS.build(name, {"no_such_parameter": 1})


@pytest.mark.parametrize(
    ("name", "parameters"),
    [*((name, PARAMETERS[name]) for name in ("ials", "lightfm", "content", "graph")), ("sequence", {"factors": 4})],
)
def test_towers_score_by_a_dot_product(name: str, parameters: Mapping[str, object]) -> None:
    trained = RECOMMENDERS.build(name, parameters)
    trained.fit(random_set(), seed=0, progress=silent)
    assert_a_tower(trained)


def test_the_transformer_is_a_tower() -> None:
    assert_a_tower(drawn_transformer(20))


def assert_a_tower(trained: Recommender) -> None:
    assert isinstance(trained, Tower)
    batch = random_set(seed=9).histories
    np.testing.assert_allclose(
        trained.fold_in(batch) @ trained.item_vectors.T, trained.score(batch), rtol=1e-4, atol=1e-5
    )


def test_a_hybrid_needs_weights_for_every_member_and_rising_knots() -> None:
    for broken in (
        {**HYBRID, "knots": [2, 0, 6]},
        {**HYBRID, "weights": {"ials": [1.0, 1.0, 1.0]}},
        {**HYBRID, "members": {}},
        {**HYBRID, "weights": {**dict(HYBRID["weights"]), "ials": [1.0]}},  # type: ignore[call-overload] # a mapping
    ):
        with pytest.raises(InputError):
            RECOMMENDERS.build("hybrid", broken)


def test_a_hybrid_is_the_weighted_sum_of_what_its_members_share() -> None:
    trained = fitted("hybrid", random_set())
    assert isinstance(trained, Blended)
    batch: Histories = random_set(seed=9).histories
    np.testing.assert_allclose(sum(trained.shares(batch).values()), trained.score(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["implicit", "implicit-bpr"])
def test_the_second_engine_stands_behind_the_same_name(engine: str) -> None:
    data = checkerboard()
    trained = RECOMMENDERS.build("ials", {"factors": 2, "epochs": 10, "engine": engine})
    trained.fit(data, seed=0, progress=silent)
    again = RECOMMENDERS.build("ials", {"factors": 2, "epochs": 10, "engine": engine})
    again.fit(data, seed=0, progress=silent)
    np.testing.assert_array_equal(trained.arrays()["vectors"], again.arrays()["vectors"])
    even, odd = trained.score(history([0, 2, 4]))[0], trained.score(history([1, 3, 5]))[0]
    assert even[6::2].mean() > even[7::2].mean()
    assert odd[7::2].mean() > odd[6::2].mean()


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(InputError):
        RECOMMENDERS.build("ials", {"engine": "magic"}).fit(random_set(), seed=0, progress=silent)


def test_exported_lightfm_vectors_give_its_own_ranking() -> None:
    data = random_set()
    recommender = LightfmRecommender.build("lightfm", PARAMETERS["lightfm"])
    recommender.fit(data, seed=0, progress=silent)
    model, items, users = train_lightfm(data, LightfmParameters(components=8, epochs=20), seed=0, progress=silent)
    user_biases, user_vectors = model.get_user_representations(users)
    for user in range(data.n_users):
        theirs = model.predict(user, np.arange(data.n_items), item_features=items, user_features=users, num_threads=1)
        ours = recommender.item_vectors @ np.append(user_vectors[user], 1.0) + user_biases[user]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_sequence_between_singular_vectors_finds_the_checkerboard_too() -> None:
    data = checkerboard()
    tower = RECOMMENDERS.build("sequence", {"factors": 2})
    tower.fit(data, seed=0, progress=silent)
    restored = RECOMMENDERS.restore("sequence", tower.parameters(), tower.arrays())
    even = restored.score(history([0, 2, 4]))[0]
    assert even[6::2].mean() > even[7::2].mean()
    one, items = history([0, 2, 4, 6]), np.array([1, 8], dtype=np.int32)
    parts = tower.contributions(one, items)
    np.testing.assert_allclose(parts.sum(axis=0), tower.score(one, items)[0], atol=1e-5)
    less = tower.score(without(one, 1), items)[0]
    np.testing.assert_allclose(tower.score(one, items)[0] - less, parts[1], atol=1e-5)
    assert tower.extended(sp.csr_matrix((2, 2), dtype=np.float32)).n_items == 18
