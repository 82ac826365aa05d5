"""The older systems' data, moved by the lines of their pages, trained by their files, served at their addresses.

The short version of `python -m benchmarks.compat`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compat import import_lines, moved
from benchmarks.compat_requests import differences, number, text


@pytest.mark.parametrize(("system", "requests"), [("posts", 5), ("movies", 6), ("books", 5)])
def test_a_system_moves_by_the_lines_of_its_page_and_its_requests_are_answered(
    system: str, requests: int, tmp_path: Path
) -> None:
    found = moved(system, tmp_path, 0.1, budget_seconds=0.5)
    assert found["problems"] == []
    assert found["requests"] >= requests
    assert len(import_lines(system)) == {"posts": 6, "movies": 2, "books": 4}[system]
    if system == "posts":  # its settings file gives content a floor
        assert all(
            weight >= 0.05 * 0.99 * sum(max(row[knot], 0.0) for row in found["weights"].values())
            for knot, weight in enumerate(found["weights"]["content"])
        )


def test_a_field_that_is_missing_or_of_another_kind_is_found() -> None:
    shape = {"a": text, "b": [{"c": number}]}
    assert differences({"a": "x", "b": [{"c": 1}]}, shape, "") == []
    assert differences({"a": "x"}, shape, "") != []
    assert differences({"a": "x", "b": []}, shape, "") != []
    assert differences({"a": "x", "b": [{"c": "1"}]}, shape, "") != []
    assert differences({"b": [{"c": 1}], "a": "x"}, shape, "") != []
