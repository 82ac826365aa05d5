"""Health: each part, what lags, how fresh lists are."""

from __future__ import annotations

import streamlit as st

from app.dashboard.api_client import ApiError
from app.dashboard.connection import api, number, table
from app.dashboard.figures import Figures

REFRESH_SECONDS = 5
WAITING = {
    "Records behind (Kafka)": "encore_consumer_lag",
    "Messages to send (outbox)": "encore_outbox_pending",
    "Jobs that wait": "encore_job_queue_depth",
    "Dead letters": "encore_dead_letters",
    "Breakers open": "encore_breaker_open",
    "Background failures": "encore_background_failures_total",
}


@st.fragment(run_every=REFRESH_SECONDS)
def page() -> None:
    """Drawn anew every few seconds while somebody looks."""
    health = api().get("/health/ready")
    status = f"The service is {health['status']} (version {health['version']})."
    (st.success if health["status"] == "ready" else st.warning)(status)
    st.subheader("Parts")
    table([{"part": name, "state": _state(state)} for name, state in health["checks"].items()], "No parts.")
    try:
        figures = Figures.of(api().figures())
    except ApiError as error:
        st.info(f"No figures: {error}. ENCORE_DASHBOARD_OPERATIONS_URL says where /metrics is.")
        return
    _waiting(figures)
    _freshness(figures)


def _state(state: object) -> str:
    if isinstance(state, dict):
        return ", ".join(f"{name} {number(value)}" for name, value in state.items())
    return number(state)


def _waiting(figures: Figures) -> None:
    st.subheader("What waits, what failed")
    columns = st.columns(len(WAITING))
    for column, (label, name) in zip(columns, WAITING.items(), strict=True):
        column.metric(label, number(figures.total(name)))


def _freshness(figures: Figures) -> None:
    st.subheader("Freshness")
    sources = sorted({labels["source"] for labels, _ in figures.rows("encore_freshness_seconds_count")})
    rows = [
        {
            "events from": source,
            "events": number(figures.total("encore_freshness_seconds_count", source=source)),
            "95 % within, seconds": number(figures.quantile("encore_freshness_seconds", 0.95, source=source)),
        }
        for source in sources
    ]
    table(rows, "No event has come in through this process yet.")
