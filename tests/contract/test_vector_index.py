"""One suite for every kind of vector index."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from app import telemetry
from app.domain.exceptions import ConfigurationError
from app.domain.interfaces import VectorIndex
from app.infrastructure.vector_store import INDEX_KINDS, IndexPolicy, open_good_index, open_vector_index


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    """2,000 items around 20 centres, as factor vectors lie."""
    random = np.random.default_rng(7)
    centres = random.normal(size=(20, 16))
    return (centres[random.integers(0, 20, 2_000)] + 0.5 * random.normal(size=(2_000, 16))).astype(np.float32)


@pytest.fixture(scope="module", params=INDEX_KINDS)
def index(request: pytest.FixtureRequest, vectors: NDArray[np.float32]) -> VectorIndex:
    return open_vector_index(request.param, vectors)


def test_the_recall_measured_at_build_is_good_enough_to_serve(index: VectorIndex) -> None:
    recall = index.facts["recall@100"]

    assert isinstance(recall, float)
    assert recall >= (0.6 if index.facts["kind"] == "pq" else 0.9)


def test_scores_fall_and_belong_to_their_positions(index: VectorIndex, vectors: NDArray[np.float32]) -> None:
    positions, scores = index.search(vectors[:3], 10)

    assert positions.shape == scores.shape == (3, 10)
    assert (np.diff(scores, axis=1) <= 0).all()
    if index.facts["kind"] in {"flat", "hnsw", "ivf"}:
        exact = np.einsum("qf,qkf->qk", vectors[:3], vectors[positions])
        np.testing.assert_allclose(scores, exact, rtol=1e-4)


def test_excluded_items_never_come_and_the_list_is_still_full(index: VectorIndex, vectors: NDArray[np.float32]) -> None:
    best, _scores = index.search(vectors[:1], 150)

    positions, _scores = index.search(vectors[:1], 10, best[0, :100])

    assert not np.isin(positions, best[0, :100]).any()
    assert (positions >= 0).all()


def test_fewer_are_left_than_asked_for(vectors: NDArray[np.float32]) -> None:
    index = open_vector_index("flat", vectors[:5])

    positions, scores = index.search(vectors[:1], 10, np.array([0, 1, 1], dtype=np.int32))

    assert sorted(positions[0, :3].tolist()) == [2, 3, 4]
    assert positions[0, 3:].tolist() == [-1] * 7
    assert np.isneginf(scores[0, 3:]).all()


def test_two_builds_give_the_same_answers(index: VectorIndex, vectors: NDArray[np.float32]) -> None:
    again = open_vector_index(str(index.facts["kind"]), vectors)

    np.testing.assert_array_equal(again.search(vectors[:20], 10)[0], index.search(vectors[:20], 10)[0])


def test_threads_may_search_at_once(index: VectorIndex, vectors: NDArray[np.float32]) -> None:
    alone, _scores = index.search(vectors[:50], 10)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda row: index.search(vectors[row : row + 1], 10)[0][0], range(50)))

    np.testing.assert_array_equal(np.array(together), alone)


def test_an_unknown_kind_names_the_setting(vectors: NDArray[np.float32]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_vector_index("annoy", vectors)

    assert caught.value.setting == "ENCORE_VECTOR_INDEX"


def test_an_index_that_finds_too_little_is_replaced_by_a_flat_one_and_counted(vectors: NDArray[np.float32]) -> None:
    refused = telemetry.VECTOR_INDEXES_REFUSED.labels("pq")
    before = refused._value.get()

    index = open_good_index(IndexPolicy("pq", min_recall=0.99), vectors)

    assert (index.facts["kind"], index.facts["refused"], index.facts["recall@100"]) == ("flat", "pq", 1.0)
    recall = index.facts["refused_recall"]
    assert isinstance(recall, float)
    assert recall < 0.99
    assert refused._value.get() == before + 1
    assert open_good_index(IndexPolicy("pq", min_recall=0.1), vectors).facts["kind"] == "pq"


def test_approximate_indexes_come_by_need(vectors: NDArray[np.float32]) -> None:
    kinds = [
        open_good_index(IndexPolicy("auto", approximate_above=above, min_recall=0.0), vectors).facts["kind"]
        for above in (len(vectors), len(vectors) - 1)
    ]

    assert kinds == ["flat", "ivf"]
    assert open_good_index(IndexPolicy("flat", approximate_above=1, min_recall=1.0), vectors).facts["kind"] == "flat"
