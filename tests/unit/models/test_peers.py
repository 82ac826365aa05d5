"""Items nobody has touched yet are scored like their peers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from app.domain.exceptions import ArtifactDamagedError
from app.models import RECOMMENDERS
from app.models.peers import Peers
from app.models.popularity import Popularity
from tests.unit.models.data import HYBRID, dataset, history, silent, without

NEW = sp.csr_matrix(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=np.float32))
"""An item of even genre, one of odd genre, one that nothing is known of."""

# Shares of four users: item 0: 1, item 1: 1/4, item 2: 1/2, item 3: 1/4; item 4 (even) has no likes.
LIKES = [[(0, 1.0), (2, 1.0)], [(0, 1.0), (2, 1.0)], [(0, 1.0), (3, 1.0)], [(0, 1.0), (1, 1.0)]]


def popularity() -> tuple[Popularity, Peers]:
    data = dataset(LIKES, 5)
    fitted = RECOMMENDERS.build("popularity", {})
    fitted.fit(data, seed=0, progress=silent)
    assert isinstance(fitted, Popularity)
    return fitted, Peers.learn(data)


def test_an_item_without_likes_gets_the_mean_score_of_the_items_with_its_features() -> None:
    fitted, peers = popularity()
    nobody = history([])
    np.testing.assert_allclose(peers.score(fitted, nobody)[0], [1, 0.25, 0.5, 0.25, 0.75])
    picked = np.array([4, 3], dtype=np.int32)
    np.testing.assert_allclose(peers.score(fitted, nobody, picked)[0], [0.75, 0.25])


def test_later_items_get_it_too_and_one_without_features_gets_nothing() -> None:
    fitted, peers = popularity()
    wider, known = fitted.extended(NEW), peers.extended(NEW)
    np.testing.assert_allclose(known.score(wider, history([]))[0], [1, 0.25, 0.5, 0.25, 0.75, 0.75, 0.25, 0])
    picked = np.array([7, 6, 0, 5], dtype=np.int32)
    np.testing.assert_allclose(known.score(wider, history([]), picked)[0], [0, 0.25, 1, 0.75])


def test_without_features_every_item_speaks_for_itself() -> None:
    peers = Peers.learn(dataset(LIKES, 5, features=False))
    fitted, _ = popularity()
    np.testing.assert_allclose(peers.score(fitted, history([]))[0], [1, 0.25, 0.5, 0.25, 0])


def test_reasons_for_a_new_item_are_true() -> None:
    data = dataset([[*row, (5 + n % 2, 1.0)] for n, row in enumerate(LIKES * 4)], 8)
    hybrid = RECOMMENDERS.build("hybrid", HYBRID)
    hybrid.fit(data, seed=0, progress=silent)
    wider = hybrid.extended(NEW)
    one, items = history([0, 5, 3]), np.array([4, 8, 1, 9], dtype=np.int32)
    parts, whole = wider.contributions(one, items), wider.score(one, items)[0]
    np.testing.assert_allclose(parts.sum(axis=0), whole, rtol=1e-4, atol=1e-5)
    for position in range(3):
        less = wider.score(without(one, position), items)[0]
        np.testing.assert_allclose(whole - less, parts[position], rtol=1e-3, atol=2e-5)


def test_damaged_peers_are_refused() -> None:
    _, peers = popularity()
    arrays = peers.arrays()
    assert Peers.restore(arrays, 5).matrix.nnz == peers.matrix.nnz
    for name, damaged in (
        ("peers.known", np.array([0, 1, 2, 9], dtype=np.int32)),
        ("peers.row", np.array([-1, -1, -1, -2, 0], dtype=np.int32)),
        ("peers.matrix.shape", np.array([1, 9], dtype=np.int64)),
    ):
        with pytest.raises(ArtifactDamagedError):
            Peers.restore({**arrays, name: damaged}, 5)
