"""Data of odd shape go through the default pipeline: never a crash, never worse than popularity beyond noise."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest

from benchmarks.odd_data import SMALL
from benchmarks.odd_shapes import NOISE, judged


@cache
def figures(name: str) -> Mapping[str, object]:
    """Trained once for all questions about it."""
    return judged(SMALL[name](1), budget_seconds=4.0)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_odd_shape_is_trained_on_and_never_loses_to_popularity(name: str) -> None:
    assert figures(name)["members"]
    assert float(str(figures(name).get("at_least_as_good", 1.0))) >= NOISE


@pytest.mark.parametrize("name", ["one_item_per_user", "one_user", "one_item"])
def test_where_nothing_can_beat_popularity_it_is_the_only_member(name: str) -> None:
    assert figures(name)["members"] == ["popularity"]


def test_where_only_tags_tell_the_blend_reads_them() -> None:
    found = figures("tags_only")
    assert "content" in found["members"]  # type: ignore[operator] # a list of names
    assert float(str(found["pipeline"])) > 0.02
