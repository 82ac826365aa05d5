"""Orders by hand: less of the same, nothing twice, quotas kept; and a draw whose chances are what it says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.diversity import PositionQuota, apply_quotas, mmr_order, set_vectors, split_duplicates
from app.domain.exploration import Exploration, draw

CRIME, COMEDY = [1.0, 0.0], [0.0, 1.0]


def test_of_equals_the_unlike_one_comes_second() -> None:
    relevance = np.array([1.0, 0.9, 0.8, 0.0], dtype=np.float32)
    vectors = np.array([CRIME, CRIME, COMEDY, COMEDY], dtype=np.float32)

    assert mmr_order(relevance, vectors, 0.5, 4).tolist() == [0, 2, 1, 3]
    assert mmr_order(relevance, vectors, 0.0, 4).tolist() == [0, 1, 2, 3]
    assert mmr_order(relevance, vectors, 0.05, 2).tolist() == [0, 1]


def test_without_spread_or_items_there_is_still_an_order() -> None:
    flat = np.ones(3, dtype=np.float32)

    assert sorted(mmr_order(flat, np.zeros((3, 2), dtype=np.float32), 0.3, 9).tolist()) == [0, 1, 2]
    assert not len(mmr_order(flat[:0], np.zeros((0, 2), dtype=np.float32), 0.3, 9))


def test_what_was_there_before_is_told_apart() -> None:
    first, again = split_duplicates(np.array([7, 0, 7, 5, 0, 5, 7]))

    assert (first.tolist(), again.tolist()) == ([0, 1, 3, 4], [2, 5, 6])


def test_kinds_give_the_cosine_of_sets() -> None:
    sets = (frozenset[str](), frozenset({"crime"}), frozenset({"crime", "comedy"}))
    kinds = set_vectors(sets, np.array([0, 1, 2, 2], dtype=np.int32))

    half = 0.5**0.5
    expected = [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, half, half], [0.0, half, 1.0, 1.0], [0.0, half, 1.0, 1.0]]
    assert np.allclose(kinds @ kinds.T, expected, atol=1e-6)


def members(*rows: int, n: int = 6) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.isin(np.arange(n), rows)


def test_a_quota_lets_at_most_so_many_through_and_fills_the_list_all_the_same() -> None:
    share = PositionQuota(members(0, 1, 2, 3), within=3, at_most=1)

    assert apply_quotas(6, [share], 6).tolist() == [0, 4, 5, 1, 2, 3]
    assert apply_quotas(4, [PositionQuota(members(0, 1, 2, 3, n=4), within=3, at_most=1)], 4).tolist() == [0, 1, 2, 3]


def test_a_quota_keeps_places_for_those_it_promises_them_to() -> None:
    assert apply_quotas(6, [PositionQuota(members(4, 5), within=3, at_least=2)], 3).tolist() == [0, 4, 5]
    assert apply_quotas(6, [PositionQuota(members(), within=3, at_least=2)], 3).tolist() == [0, 1, 2]


@given(
    st.integers(1, 30),
    st.lists(st.tuples(st.sets(st.integers(0, 29)), st.integers(1, 12), st.integers(0, 12)), max_size=3),
    st.integers(1, 30),
)
@settings(max_examples=200, deadline=None)
def test_quotas_lose_no_item_and_repeat_none(n: int, quotas: list[tuple[set[int], int, int]], size: int) -> None:
    shares = [PositionQuota(np.isin(np.arange(n), list(rows)), within, at_most=most) for rows, within, most in quotas]

    order = apply_quotas(n, shares, size).tolist()

    assert len(order) == len(set(order)) == min(n, size)


@pytest.mark.parametrize(("share", "n"), [(0.2, 4), (0.5, 1), (0.05, 10)])
def test_items_are_drawn_as_often_as_their_propensity_says(share: float, n: int) -> None:
    trials = 40_000
    drawn = Counter(draw(Exploration(share), n, f"u{number}") for number in range(trials))

    assert sum(one.propensity for one in drawn) == pytest.approx(1.0)
    for one, times in drawn.items():
        spread = (one.propensity * (1 - one.propensity) / trials) ** 0.5
        assert times / trials == pytest.approx(one.propensity, abs=4.5 * spread)
    assert {one.row for one in drawn} == {None, *range(n)}


def test_the_same_seed_draws_the_same_and_nothing_is_drawn_from_nothing() -> None:
    assert draw(Exploration(0.5), 9, "u1.3.2026") == draw(Exploration(0.5), 9, "u1.3.2026")
    assert draw(Exploration(0.5), 0, "u1") == draw(Exploration(0.0), 9, "u1") == draw(Exploration(), 9, "u2")
    assert draw(Exploration(), 9, "u").propensity == 1.0


def test_a_quota_of_two_in_five_holds_exactly_at_its_edges() -> None:
    """Six of the kind come first: two stand in the first five places, the others begin with the sixth."""
    members = np.array([True] * 6 + [False] * 4)
    order = apply_quotas(10, [PositionQuota(members, 5, 0, 2)], 10)
    assert members[order].tolist() == [True, True, False, False, False, True, True, True, True, False]
