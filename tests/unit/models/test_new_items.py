"""Items nobody has touched: content without a reduction, weights of their own in a blend, and how those are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from app.application.evaluation.new_items import hidden_items
from app.application.evaluation.selection import select
from app.application.evaluation.selection_queries import selection_queries
from app.domain.dataset import Dataset, Features
from app.domain.exceptions import InputError
from app.domain.recommender import Blended, Tower
from app.models import RECOMMENDERS
from tests.unit.models.data import HYBRID, checkerboard, dataset, history, random_set, silent, without


def described(n_users: int = 150, n_items: int = 120, seed: int = 4) -> Dataset:
    """Everyone likes what has their own two of 20 tags; the last 20 items nobody has touched."""
    rng = np.random.default_rng(seed)
    tags = np.stack([rng.choice(20, 2, replace=False) for _ in range(n_items)])
    rows = []
    for user in range(n_users):
        fits = np.isin(tags, [user % 20, (user * 7 + 3) % 20]).any(axis=1)
        own = np.flatnonzero(np.asarray(fits)[: n_items - 20])
        rows.append([(int(item), 1.0) for item in rng.permutation(own)[:12]])
    data = dataset(rows, n_items, features=False, profiles=False)
    data.histories.times[:] = 0.0
    matrix = sp.csr_matrix((np.ones(2 * n_items, np.float32), (np.repeat(np.arange(n_items), 2), tags.ravel())))
    return replace(data, item_features=Features(matrix, tuple(f"tag:t{tag}" for tag in range(20))))


def test_content_without_a_reduction_is_the_cosine_of_rare_tags() -> None:
    data = dataset([[(0, 1.0)], [(1, 1.0)]], 3, features=False)
    matrix = sp.csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]], dtype=np.float32))
    data = replace(data, item_features=Features(matrix, ("tag:a", "tag:b", "tag:c")))
    trained = RECOMMENDERS.build("content", {"factors": 0})
    trained.fit(data, seed=0, progress=silent)
    a, c = np.log(4 / 3) + 1, np.log(4 / 2) + 1
    unit = np.array([[a, a, 0], [a, 0, 0], [0, a, c]])
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    # One like of weight one, the mean: divided by √(1 + 1).
    np.testing.assert_allclose(trained.score(history([0]))[0], unit @ unit[0] / np.sqrt(2), rtol=1e-5)
    assert not isinstance(trained, Tower)


def test_content_without_a_reduction_keeps_the_promises_of_every_recommender() -> None:
    trained = RECOMMENDERS.build("content", {"factors": 0})
    trained.fit(checkerboard(), seed=0, progress=silent)
    one, items = history([0, 2, 5], [1.0, 2.0, -1.0]), np.array([4, 7], dtype=np.int32)
    parts, whole = trained.contributions(one, items), trained.score(one, items)[0]
    np.testing.assert_allclose(parts.sum(axis=0), whole, atol=1e-6)
    less = trained.score(without(one, 1), items)[0]
    np.testing.assert_allclose(whole - less, parts[1], atol=1e-6)
    wider = trained.extended(sp.csr_matrix(np.array([[1.0, 0.0]], dtype=np.float32)))
    assert wider.score(one)[0, 16] == pytest.approx(float(wider.score(one)[0, 0]))
    restored = RECOMMENDERS.restore("content", dict(wider.parameters()), dict(wider.arrays()))
    np.testing.assert_array_equal(restored.score(one), wider.score(one))


def test_items_without_likes_have_the_weights_given_for_them() -> None:
    data = random_set()
    with_weights = RECOMMENDERS.build("hybrid", {**HYBRID, "cold": {"content": 2.0}})
    usual = RECOMMENDERS.build("hybrid", HYBRID)
    for blend in (with_weights, usual):
        blend.fit(data, seed=0, progress=silent)
    features = sp.csr_matrix(np.array([[1.0, 0.0]], dtype=np.float32))
    with_weights, usual = with_weights.extended(features), usual.extended(features)
    one, new = history([2, 4, 7]), np.array([20], dtype=np.int32)
    np.testing.assert_allclose(with_weights.score(one)[:, :20], usual.score(one)[:, :20], rtol=1e-5)
    assert isinstance(with_weights, Blended)
    shares = with_weights.shares(one, new)
    assert {name for name, part in shares.items() if part.any()} == {"content"}
    parts = with_weights.contributions(one, new)
    np.testing.assert_allclose(parts.sum(axis=0), with_weights.score(one, new)[0], rtol=1e-4, atol=1e-6)
    less = with_weights.score(without(one, 1), new)[0]
    np.testing.assert_allclose(with_weights.score(one, new)[0] - less, parts[1], rtol=1e-3, atol=2e-5)
    again = RECOMMENDERS.restore("hybrid", dict(with_weights.parameters()), dict(with_weights.arrays()))
    np.testing.assert_array_equal(again.score(one), with_weights.score(one))


@pytest.mark.parametrize("cold", [{"nobody": 1.0}, {"content": float("nan")}, [1.0]])
def test_weights_of_new_items_must_be_numbers_of_members(cold: object) -> None:
    with pytest.raises(InputError):
        RECOMMENDERS.build("hybrid", {**HYBRID, "cold": cold})


def test_the_question_hides_a_fifth_of_the_items_and_shows_none_of_them() -> None:
    data = described()
    asked = selection_queries(data, seed=0)
    assert asked is not None
    new = asked.new_items
    assert new is not None
    touched = np.bincount(asked.train.histories.items, minlength=data.n_items) > 0
    assert new.items.sum() == touched.sum() // 5
    assert not new.items[~touched].any()
    assert not new.items[new.among.histories.items].any()
    assert new.items[new.among.relevant.indices].all()
    assert not new.items[new.everything.histories.items].any()
    assert hidden_items(replace(asked.train, item_features=None), asked.whole, 0) is None


@pytest.mark.parametrize("name", ["ials", "content", "lightfm"])
def test_a_hidden_item_stands_where_its_features_put_it_whoever_liked_it(name: str) -> None:
    """The last item has even features and is liked by the odd: as new, it belongs to the even."""
    rows = [[(item, 1.0) for item in range(user % 2, 16, 2)] + ([(16, 1.0)] if user % 2 else []) for user in range(24)]
    data = dataset(rows, 17)
    parameters = {"ials": {"factors": 2, "epochs": 8}, "content": {}, "lightfm": {"components": 8, "epochs": 20}}[name]
    trained = RECOMMENDERS.build(name, parameters)
    trained.fit(data, seed=0, progress=silent)
    hidden = np.arange(17) == 16
    twin = RECOMMENDERS.as_new({name: trained}, data, hidden)[name]
    last = np.array([16], dtype=np.int32)
    assert twin.score(history([0, 2, 4]), last)[0, 0] > twin.score(history([1, 3, 5]), last)[0, 0]
    if name == "lightfm":
        return  # it learns again without the hidden ones, so that the others change too
    others = np.arange(16, dtype=np.int32)
    np.testing.assert_allclose(twin.score(history([0, 2]), others), trained.score(history([0, 2]), others), rtol=1e-5)


def test_selection_gives_new_items_weights_of_their_own_and_they_find_what_fits() -> None:
    data = described()
    recipe = select(data, RECOMMENDERS, "hybrid", seed=0, budget_seconds=60, progress=silent)
    cold = recipe.parameters["cold"]
    assert isinstance(cold, dict)
    assert any(cold.values())
    blend = RECOMMENDERS.build("hybrid", recipe.parameters)
    blend.fit(data, seed=0, progress=silent)
    assert data.item_features is not None
    new = np.arange(100, 120, dtype=np.int32)
    tags = data.item_features.matrix[new].toarray() > 0
    scores = blend.score(data.histories, new)
    fits = np.array([tags[:, [user % 20, (user * 7 + 3) % 20]].any(axis=1) for user in range(data.n_users)])
    chosen = scores.argmax(axis=1)
    found = fits[np.arange(len(chosen)), chosen][fits.any(axis=1)].mean()
    assert found > 0.7, "one in six would be chance"
