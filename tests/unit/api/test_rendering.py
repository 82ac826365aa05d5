"""A page's bytes are the JSON of the contract."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from app.api.rendering import complete_body, render_page_head
from app.domain.list_query import ModelRef, Page, RankedItem, Reason

AS_OF = datetime(2026, 11, 21, 9, 30, 15, 250_000, tzinfo=UTC)
CARD = b'"title":"A \\"quoted\\" one","metadata":{"genres":["Crime"]}'


def page(**changes: object) -> Page:
    item = RankedItem("v7", 1, 0.9312345678, "content", CARD, (Reason("because_you_watched", 0.41, "v2", "T"),))
    values: dict[str, object] = {
        "items": (item,), "total": 3, "limit": 1, "offset": 0, "model": ModelRef("m1", "hybrid", 12),
        "is_fallback": False, "fallback_reason": None, "as_of": AS_OF, "etag": "x",
    }  # fmt: skip
    return Page(**{**values, **changes})  # type: ignore[arg-type]  # the tests know what they put in


def test_every_member_is_there_in_the_order_of_the_contract() -> None:
    body = json.loads(complete_body(render_page_head(page(), ("user_id", "u1"), "c1"), "r1"))
    assert body == {
        "user_id": "u1",
        "recommendations": [
            {
                "item_id": "v7",
                "rank": 1,
                "score": 0.931235,
                "title": 'A "quoted" one',
                "metadata": {"genres": ["Crime"]},
                "source": "content",
                "reasons": [{"kind": "because_you_watched", "item_id": "v2", "title": "T", "contribution": 0.41}],
            }
        ],
        "pagination": {"total": 3, "limit": 1, "offset": 0, "has_more": True, "next_cursor": "c1"},
        "model": {"id": "m1", "type": "hybrid", "version": 12},
        "experiment": None,
        "is_fallback": False,
        "fallback_reason": None,
        "as_of": "2026-11-21T09:30:15.250Z",
        "request_id": "r1",
    }


def test_an_empty_list_of_nobody_without_a_model() -> None:
    empty = page(items=(), total=0, model=None, is_fallback=True, fallback_reason="no_model")
    body = json.loads(complete_body(render_page_head(empty, None, None), "r1"))
    assert "user_id" not in body
    assert (body["recommendations"], body["model"], body["is_fallback"]) == ([], None, True)
    assert body["pagination"]["has_more"] is False


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_any_text_and_any_score_stay_json(text: str, score: float) -> None:
    item = RankedItem(text, 1, score, text, CARD)
    body = json.loads(complete_body(render_page_head(page(items=(item,)), ("item_id", text), text), text))
    assert (body["item_id"], body["request_id"], body["recommendations"][0]["item_id"]) == (text, text, text)
