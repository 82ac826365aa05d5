"""Cursors are opaque, bound to their list, and cannot be made up (H41)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.cursors import Cursors
from app.domain.exceptions import CursorError

CURSORS = Cursors(b"secret")


@given(st.text(max_size=50), st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_what_was_sealed_opens_to_the_same_position(binding: str, position: str) -> None:
    binding = binding.encode("utf-8", "replace").decode()
    assert CURSORS.open(binding, CURSORS.seal(binding, position)) == position


def test_another_list_another_caller_or_another_secret_cannot_use_it() -> None:
    cursor = CURSORS.seal("items user:u1", "v7")
    for opener, binding in ((CURSORS, "items user:u2"), (CURSORS, "users user:u1"), (Cursors(b"x"), "items user:u1")):
        with pytest.raises(CursorError):
            opener.open(binding, cursor)


@given(st.binary(max_size=60))
def test_no_invented_cursor_opens(noise: bytes) -> None:
    with pytest.raises(CursorError):
        CURSORS.open("items", noise.decode("latin-1"))


def test_no_changed_character_opens_to_another_position() -> None:
    cursor = CURSORS.seal("recs u1", "10")
    for position in range(len(cursor)):
        for other in "AZ9_-":
            changed = cursor[:position] + other + cursor[position + 1 :]
            try:
                assert CURSORS.open("recs u1", changed) == "10"  # unused bits of the last character
            except CursorError:
                continue
