"""What a cursor carries: bounded, whatever ids look like, and found again."""

from __future__ import annotations

import numpy as np

from app.application.ranking.serving_state import ServingState
from app.application.recommending.list_cursor import MAX_CARRIED, Finder, pack, unpack
from app.domain.catalog_view import CatalogView
from app.domain.dataset import IdMap
from app.domain.list_query import ModelRef
from app.domain.ranked_list import RankedList

N = 1_000
LONG = IdMap(f"{number:04}" + "x" * 252 for number in range(N))
MODEL = ModelRef("m" * 64, "collaborative", 123_456)


def ranked(n: int, slot: int = -1) -> RankedList:
    draw = np.random.default_rng(0)
    return RankedList(
        1_700_000_000.25,
        np.inf,
        None,
        None,
        draw.permutation(N)[:n].astype(np.int32),
        np.sort(draw.random(n).astype(np.float32))[::-1].copy(),
        draw.integers(0, 4, n).astype(np.uint8),
        ("collaborative", "popular", "pinned", "explored"),
        slot,
        0.25,
    )


def test_the_longest_cursor_fits_into_an_address_beside_the_other_parameters() -> None:
    packed = pack(CatalogView.of_model(LONG), MODEL, ranked(N), 10, 1.8e9)
    assert (len(packed) + 12) * 4 / 3 < 7_000
    assert len(unpack(packed, 1.8e9).refs) == MAX_CARRIED


def test_of_a_list_of_the_usual_length_everything_is_carried_in_less_than_2_kb() -> None:
    view, listed = CatalogView.of_model(LONG), ranked(100, slot=40)
    packed = pack(view, MODEL, listed, 10, 1.8e9)
    assert (len(packed) + 12) * 4 / 3 < 2_000

    resumed = Finder().resumed(unpack(packed, 1.8e9), ServingState(view), np.ones(N, dtype=bool))

    for column in ("positions", "scores", "sources"):
        assert np.array_equal(getattr(resumed, column)[10:], getattr(listed, column)[10:]), column
    assert (resumed.slot, resumed.propensity, resumed.as_of) == (40, 0.25, listed.as_of)
    assert unpack(packed, 1.8e9).model == MODEL


def test_the_place_that_explores_moves_up_with_its_item_and_goes_with_it() -> None:
    view, listed = CatalogView.of_model(LONG), ranked(100, slot=40)
    carried = unpack(pack(view, MODEL, listed, 10, 1.8e9), 1.8e9)
    allowed = np.ones(N, dtype=bool)
    allowed[listed.positions[[20, 30]]] = False
    assert Finder().resumed(carried, ServingState(view), allowed).slot == 38
    allowed[listed.positions[40]] = False
    gone = Finder().resumed(carried, ServingState(view), allowed)
    assert (gone.slot, gone.propensity, len(gone)) == (-1, 1.0, 97)


def test_nothing_follows_the_last_line() -> None:
    assert pack(CatalogView.of_model(LONG), MODEL, ranked(10), 10, 1.8e9) == b""


def test_items_that_became_known_later_are_found_beside_the_others() -> None:
    view, finder = CatalogView.of_model(IdMap(["a", "b"])), Finder()
    later = CatalogView.of_model(IdMap(["c", "b", "d"]))
    listed = RankedList(0.0, np.inf, None, None, np.array([0, 2, 1], dtype=np.int32), np.zeros(3, np.float32),
                        np.zeros(3, np.uint8), ("popular",))  # fmt: skip
    carried = unpack(pack(later, None, listed, 0, 0.0), 0.0)
    for known, expected in ((view, [1]), (view.knowing(["d"]), [2, 1]), (later, [0, 2, 1])):
        resumed = finder.resumed(carried, ServingState(known), np.ones(len(known), dtype=bool))
        assert resumed.positions.tolist() == expected
