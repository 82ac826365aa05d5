"""Try a user: history, list with reasons, and what would be shown if something were otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.dashboard.api_client import path_of
from app.dashboard.connection import api, number, table, when
from app.dashboard.pages.trainings import TYPES

LINES = 10


def page() -> None:
    """A user, then two lists beside each other."""
    user_id = st.text_input("User id")
    if not user_id:
        st.caption("Whose list?")
        return
    history = api().get(path_of("users", user_id, "history"), limit=200)["history"]
    left, right = st.columns(2)
    with left:
        st.subheader("History")
        table(
            [
                {
                    "item": entry["title"] or entry["item_id"],
                    "weight": number(round(entry["weight"], 3)),
                    "at": when(entry["at"]),
                }
                for entry in history[:LINES]
            ],
            "Nothing is known of this user.",
        )
        if len(history) > LINES:
            st.caption(f"The newest {LINES} of {len(history)}.")
    with right:
        st.subheader("List as it is shown")
        _list(api().get(path_of("recs", user_id), limit=LINES, explain="true"))
    _what_if(history)


def _what_if(history: Sequence[Mapping[str, Any]]) -> None:
    st.subheader("What if")
    st.caption(
        "Both lists below are computed now from the history above, without profile and cache, "
        "and neither is kept: they differ by what you change here and by nothing else."
    )
    left, middle, right = st.columns(3)
    kind = left.selectbox("Model type", TYPES)
    diversity = left.slider("Diversity", 0.0, 1.0, 0.0)
    pinned = middle.text_input("Pin this item id to the top")
    blocked = middle.text_input("Block this genre")
    added = right.text_input("Add an event on this item id")
    weight = right.slider("Weight of that event", -1.0, 2.0, 1.0)
    seen = [{"item_id": entry["item_id"], "weight": min(max(entry["weight"], -10), 10)} for entry in history]
    tried = [{"item_id": added, "weight": weight}, *seen][: LINES * 20] if added else seen
    before = _session({"history": seen})
    after = _session(
        {
            "history": tried,
            "type": kind,
            "rules": rules_of(pinned, blocked),
            **({"diversity": diversity} if diversity else {}),
        }
    )
    one, other = st.columns(2)
    with one:
        st.write("As it is")
        _list(before)
    with other:
        st.write("What if")
        _list(after, {line["item_id"] for line in before["recommendations"]})


def rules_of(pinned: str, blocked: str) -> list[dict[str, Any]]:
    """Rules of this trial."""
    rules: list[dict[str, Any]] = []
    if pinned:
        rules.append({"kind": "pin", "name": "pin of the console", "select": {"items": [pinned]}, "position": 1})
    if blocked:
        rules.append({"kind": "block", "name": "block of the console", "select": {"genres": [blocked]}})
    return rules


def _session(body: Mapping[str, Any]) -> Mapping[str, Any]:
    answer: Mapping[str, Any] = api().send(
        "POST", path_of("recs", "session"), {"limit": LINES, "explain": True, **body}
    )
    return answer


def _list(answer: Mapping[str, Any], known: frozenset[str] | set[str] | None = None) -> None:
    if answer["is_fallback"]:
        st.warning(f"A fallback list: {answer['fallback_reason']}")
    model = answer["model"]
    st.caption("No model" if model is None else f"Model {model['type']} {model['version']}")
    rows = [
        {
            "rank": line["rank"],
            "item": line["title"] or line["item_id"],
            "score": number(line["score"]),
            "source": line["source"],
            "because": because(line["reasons"]),
            **({} if known is None else {"new here": "" if line["item_id"] in known else "new"}),
        }
        for line in answer["recommendations"]
    ]
    table(rows, "An empty list.")


def because(reasons: Sequence[Mapping[str, Any]]) -> str:
    """The strongest reasons, in words."""
    strongest = sorted(reasons, key=lambda reason: -reason["contribution"])[:2]
    words = (
        f"{reason['kind'].replace('_', ' ')} {reason['title'] or reason['item_id'] or ''}".strip()
        for reason in strongest
    )
    return ", ".join(words) or "–"
