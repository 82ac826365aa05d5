"""The bytes of a list: small, and worthless under any other name."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.domain.catalog_view import CatalogView
from app.domain.dataset import IdMap
from app.domain.ranked_list import RankedList, decode_list, encode_list

VIEW = CatalogView.of_model(IdMap([f"m{number}" for number in range(200)])).knowing(["x", "y"])
LIST = RankedList(
    1.0,
    np.inf,
    None,
    None,
    np.array([5, 201, 0], dtype=np.int32),
    np.array([3, 2, 1], dtype=np.float32),
    np.array([0, 1, 0], dtype=np.uint8),
    ("collaborative", "content"),
)


def test_a_list_comes_back_as_it_was() -> None:
    back = decode_list(encode_list(LIST, "u1", "model.7", VIEW), "u1", "model.7", VIEW)

    assert back is not None
    assert back.positions.tolist() == [5, 201, 0]
    assert back.scores.tolist() == [3, 2, 1]
    assert [back.source_names[source] for source in back.sources] == ["collaborative", "content", "collaborative"]


def test_items_the_model_does_not_know_are_found_by_id_in_a_catalog_laid_out_differently() -> None:
    other = CatalogView.of_model(IdMap([f"m{number}" for number in range(200)])).knowing(["y", "z", "x"])

    back = decode_list(encode_list(LIST, "u1", "model.7", VIEW), "u1", "model.7", other)

    assert back is not None
    assert [other.ids.ids[position] for position in back.positions] == ["m5", "y", "m0"]


def test_a_list_is_nothing_to_another_user_or_model_or_without_its_items() -> None:
    value = encode_list(LIST, "u1", "model.7", VIEW)

    assert decode_list(value, "u2", "model.7", VIEW) is None
    assert decode_list(value, "u1", "model.8", VIEW) is None
    assert decode_list(value, "u1", "model.7", CatalogView.of_model(IdMap([f"m{n}" for n in range(200)]))) is None


def test_a_hundred_items_fit_in_two_kilobytes() -> None:
    ranked = RankedList(
        1.0,
        np.inf,
        None,
        None,
        np.arange(100, dtype=np.int32),
        np.ones(100, dtype=np.float32),
        np.zeros(100, dtype=np.uint8),
        ("collaborative", "content", "popular"),
    )

    assert len(encode_list(ranked, "x" * 128, "3f0c3a52-6f55-4c3c-9a52-6f3c4f0f8a01.123456", VIEW)) <= 2_000


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.integers(0, 10_000))
def test_damaged_bytes_never_raise_and_never_name_an_item_that_is_not_there(at: int, bit: int, cut: int) -> None:
    value = bytearray(encode_list(LIST, "u1", "model.7", VIEW))
    value[at % len(value)] ^= 1 << bit

    for damaged in (bytes(value), bytes(value[: cut % len(value)])):
        back = decode_list(damaged, "u1", "model.7", VIEW)
        if back is not None:
            assert all(0 <= position < len(VIEW) for position in back.positions)
            assert all(source < len(back.source_names) for source in back.sources)
