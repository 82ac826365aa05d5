"""Dead letters: what could not be taken in, and trying it again."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.dashboard.api_client import ApiError, path_of
from app.dashboard.connection import api, may, number, table, when

SHOWN = 50
PREVIEW_CHARACTERS = 200


def page() -> None:
    """The list, and a form."""
    reason = st.text_input("Only those refused for this reason")
    after = int(st.number_input("Only ids after", min_value=0, value=0, step=1))
    found = api().get("/api/v1/dead-letters", limit=SHOWN, reason=reason, after=after)
    letters = found["dead_letters"]
    st.metric("Waiting", number(found["waiting"]))
    rows = [
        {
            "id": letter["id"],
            "received": when(letter["received_at"]),
            "from": _place(letter),
            "reason": letter["reason"],
            "replayed": when(letter["replayed_at"]),
            "payload": letter["payload"][:PREVIEW_CHARACTERS],
        }
        for letter in letters
    ]
    table(rows, "No dead letters.")
    waiting = [letter["id"] for letter in letters if letter["replayed_at"] is None]
    if waiting:
        _replay(waiting)


def _place(letter: dict[str, Any]) -> str:
    return f"{letter['topic']}/{letter['partition']}@{letter['offset']}" if letter["topic"] else letter["source"]


def _replay(waiting: list[int]) -> None:
    chosen = st.multiselect("Letters to try again", waiting, default=waiting[:1])
    allowed = may("recs:admin")
    why = None if allowed else "This key lacks the scope recs:admin."
    if st.button("Replay", disabled=not (allowed and chosen), help=why, type="primary"):
        try:
            done = api().send("POST", path_of("dead-letters", "replay"), {"ids": chosen})
        except ApiError as error:
            st.error(f"Not done: {error}")
            return
        refused = ", ".join(f"{count} {reason}" for reason, count in done["refused"].items())
        st.success(f"{len(done['replayed'])} went in" + (f"; still refused: {refused}" if refused else "."))
