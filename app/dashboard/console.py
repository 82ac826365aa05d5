"""The script that Streamlit runs for every visit: the menu, and the page that is asked for."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app.dashboard.api_client import ApiError
from app.dashboard.connection import api, scopes
from app.dashboard.pages import (
    catalogue,
    dead_letters,
    experiments,
    health,
    kpis,
    models,
    trainings,
    try_user,
)

PAGES = (
    ("Health", "health", health.page),
    ("KPIs", "kpis", kpis.page),
    ("Models", "models", models.page),
    ("Trainings", "trainings", trainings.page),
    ("Experiments", "experiments", experiments.page),
    ("Try a user", "try-a-user", try_user.page),
    ("Catalogue", "catalogue", catalogue.page),
    ("Dead letters", "dead-letters", dead_letters.page),
)


def shown(title: str, page: Callable[[], None]) -> Callable[[], None]:
    """The page under its heading; what the API refuses is said in its place."""

    def show() -> None:
        st.title(title)
        try:
            page()
        except ApiError as error:
            st.error(f"{title} cannot be shown: {error}")

    return show


def main() -> None:
    """Draw."""
    st.set_page_config(page_title="Encore", layout="wide")
    pages = [
        st.Page(shown(title, page), title=title, url_path=path, default=not place)
        for place, (title, path, page) in enumerate(PAGES)
    ]
    chosen = st.navigation(pages)
    st.sidebar.caption(f"Service: {api().url}")
    try:
        if "recs:admin" not in scopes():
            st.sidebar.info("Read only: this key lacks the scope recs:admin.")
    except ApiError as error:
        st.sidebar.error(f"The key: {error}")
    chosen.run()


if __name__ == "__main__":  # as Streamlit runs it
    main()
