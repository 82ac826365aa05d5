"""Catalogue: search, look, make available or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app.dashboard.api_client import ApiError, path_of
from app.dashboard.connection import act, api, number, table, when

SHOWN = 25


def page() -> None:
    """A search, then one item."""
    words = st.text_input("Words of a title or id")
    found = api().get("/api/v1/items", search=words, limit=SHOWN)
    items = found["items"]
    rows = [
        {
            "id": item["item_id"],
            "title": item["title"] or "–",
            "genres": ", ".join(item["genres"]),
            "year": str(item["year"] or "–"),
            "available": "yes" if item["available"] else "no",
        }
        for item in items
    ]
    table(rows, "Nothing by these words.")
    if found["pagination"]["has_more"]:
        st.caption(f"The first {SHOWN} by id; more words find less.")
    if items:
        by_id = {item["item_id"]: item for item in items}
        _one(by_id[st.selectbox("Item", list(by_id))])


def _one(item: Mapping[str, Any]) -> None:
    st.subheader(item["title"] or item["item_id"])
    st.write(item["description"] or "No description.")
    st.caption(
        f"Changed {when(item['updated_at'])} UTC; available from {when(item['available_from'])} "
        f"until {when(item['available_until'])}."
    )
    is_available = item["available"]
    label = "Make unavailable" if is_available else "Make available"
    changed = act(
        label,
        lambda: api().send("PATCH", path_of("items", item["item_id"]), {"available": not is_available}),
        "Changed. Lists know it within a second.",
        "catalog:write",
        f"available-{item['item_id']}",
    )
    if changed:
        st.rerun()
    st.write("Similar items")
    try:
        similar = api().get(path_of("items", item["item_id"], "similar"), limit=5)["recommendations"]
    except ApiError as error:
        st.caption(f"None: {error}")
        return
    table(
        [{"item": line["title"] or line["item_id"], "score": number(line["score"])} for line in similar],
        "Nothing is similar.",
    )
