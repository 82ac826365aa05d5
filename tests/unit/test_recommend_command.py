"""`encore recommend` and `encore similar` show what the service would answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from app.commands.recommend import show
from app.domain.list_query import ModelRef, Page, RankedItem, Reason

CARD = b'"title": "The Vault", "metadata": {"genres": ["Crime", "Drama"], "year": 1999}'
REASONS = (
    Reason("because_you_watched", 0.41, "v2", "The Alibi"),
    Reason("because_you_watched", 0.2, "v3", None),
    Reason("popular", 0.05),
    Reason("typical", 0.6),
)


def page(*items: RankedItem, fallback: str | None = None) -> Page:
    when = datetime(2026, 11, 21, tzinfo=UTC)
    return Page(items, len(items), 10, 0, ModelRef("m1", "hybrid", 3), fallback is not None, fallback, when, "etag")


ITEM = RankedItem("v1", 1, 0.93, "content", CARD, REASONS)


def test_a_list_is_a_table_of_what_people_know_an_item_by(capsys: pytest.CaptureFixture[str]) -> None:
    show(page(ITEM), False, False, user_id="u1")
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("1 ")
    for shown in ("The Vault", "v1", "Crime, Drama", "1999", "0.930", "content"):
        assert shown in line


def test_the_first_reasons_are_named_with_what_they_add(capsys: pytest.CaptureFixture[str]) -> None:
    show(page(ITEM), True, False, user_id="u1")
    assert "The Alibi (+0.41), v3 (+0.20), popular (+0.05)" in capsys.readouterr().out


def test_a_fallback_says_so_and_an_empty_list_too(capsys: pytest.CaptureFixture[str]) -> None:
    show(page(fallback="no_model"), False, False, user_id="u1")
    assert capsys.readouterr().err == "a fallback list: no_model\nnothing to show\n"


def test_json_uses_the_names_of_the_http_answer(capsys: pytest.CaptureFixture[str]) -> None:
    show(page(ITEM), True, True, user_id="u1")
    answer = json.loads(capsys.readouterr().out)
    assert answer["user_id"] == "u1"
    assert answer["model"] == {"id": "m1", "type": "hybrid", "version": 3}
    assert answer["recommendations"][0]["metadata"]["year"] == 1999
    assert answer["recommendations"][0]["reasons"][0]["contribution"] == 0.41
