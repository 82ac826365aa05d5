"""What every page shares: the connection that the command has set, what its key may do, and how errors look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from app.dashboard.api_client import ApiClient, ApiError

_clients: list[ApiClient] = []
CREDENTIAL_SECONDS = 30


def configure(client: ApiClient) -> None:
    """Set once by the command, before the server starts: Streamlit runs the pages in threads of this process."""
    _clients[:] = [client]


def api() -> ApiClient:
    """The connection."""
    return _clients[0]


@st.cache_data(ttl=CREDENTIAL_SECONDS, show_spinner=False)
def scopes() -> frozenset[str]:
    """What the key allows. Raises ApiError."""
    return frozenset(api().get("/api/v1/credential")["scopes"])


def may(scope: str) -> bool:
    """Whether to offer what needs this scope; the API decides all the same."""
    return scope in scopes()


def act(label: str, work: Callable[[], Any], done: str, scope: str, key: str, *, primary: bool = False) -> bool:
    """A button that does something to the service, says how it went, and is closed to keys without the scope."""
    allowed = may(scope)
    why = None if allowed else f"This key lacks the scope {scope}."
    if not st.button(label, key=key, disabled=not allowed, help=why, type="primary" if primary else "secondary"):
        return False
    try:
        work()
    except ApiError as error:
        st.error(f"Not done: {error}")
        return False
    st.success(done)
    return True


def table(rows: list[dict[str, Any]], empty: str) -> None:
    """Rows as a table of HTML: readers of screens can read it, unlike a grid on a canvas."""
    if rows:
        st.table(rows)
    else:
        st.caption(empty)


def when(moment: str | None) -> str:
    """A time of the API, to the second, in UTC."""
    return "–" if moment is None else moment[:19].replace("T", " ")


def number(value: object) -> str:
    """A figure as people read it."""
    if not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4f}"
