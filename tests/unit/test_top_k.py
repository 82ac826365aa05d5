"""Ranking: deterministic, ties by id."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.domain.top_k import top_k


def test_the_best_come_first_and_ties_go_by_id() -> None:
    ids = ("d", "c", "b", "a")
    scores = np.array([1, 2, 1, 1], dtype=np.float32)

    rows = top_k(scores, np.arange(4, dtype=np.int32), ids, 3)

    assert [ids[row] for row in rows] == ["c", "a", "b"]


def test_rows_refer_to_the_positions_that_were_given() -> None:
    ids = ("d", "c", "b", "a")

    rows = top_k(np.array([1, 5], dtype=np.float32), np.array([3, 0], dtype=np.int32), ids, 10)

    assert rows.tolist() == [1, 0]


@given(scores=st.lists(st.integers(0, 5), max_size=30), k=st.integers(0, 12))
def test_any_scores_give_the_order_of_a_plain_sort(scores: list[int], k: int) -> None:
    ids = tuple(str(997 * n % 101) for n in range(len(scores)))
    expected = sorted(range(len(scores)), key=lambda row: (-scores[row], ids[row]))[:k]

    rows = top_k(np.array(scores, dtype=np.float32), np.arange(len(scores), dtype=np.int32), ids, k)

    assert rows.tolist() == expected
