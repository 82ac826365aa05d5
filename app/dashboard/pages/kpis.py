"""KPIs: figures by day, the model's quality by day, and what lists do right now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app.dashboard.api_client import ApiError
from app.dashboard.connection import api, number, table, when
from app.dashboard.figures import Figures

DAYS = 60
LISTS = "/api/v1/recs/{user_id}"


def page() -> None:
    """Reports of the clock, and live figures."""
    _lists_now()
    reports = api().get("/api/v1/reports/kpis", limit=DAYS)["reports"]
    _by_day("What people do", reports, "active_users", "kpis")
    evaluations = api().get("/api/v1/reports/evaluation", limit=DAYS)["reports"]
    _by_day("Quality of the model that serves, on the newest events", evaluations, "ndcg@10", "quality")


def _lists_now() -> None:
    st.subheader("Lists since this process started")
    try:
        figures = Figures.of(api().figures())
    except ApiError as error:
        st.info(f"No figures: {error}. ENCORE_DASHBOARD_OPERATIONS_URL says where /metrics is.")
        return
    quantile = figures.quantile("encore_http_request_seconds", 0.95, route=LISTS)
    shown = {
        "Lists": figures.total("encore_lists_total"),
        "Fallbacks, share": None if figures.total("encore_lists_total") is None else _fallbacks(figures),
        "Cache hits, share": figures.share("encore_cache_reads_total", outcome="hit"),
        "95 % within, seconds": quantile,
    }
    for column, (label, value) in zip(st.columns(len(shown)), shown.items(), strict=True):
        column.metric(label, number(value))
    lately = [
        {"model type": labels["model_type"], "of its lists lately": labels["what"], "share": number(value)}
        for labels, value in figures.rows("encore_served_share")
    ]
    table(lately, "Not enough lists yet to say how many are taken up.")


def _fallbacks(figures: Figures) -> float:
    return 1 - (figures.share("encore_lists_total", fallback="none") or 0.0)


def _by_day(title: str, reports: list[Mapping[str, Any]], first: str, key: str) -> None:
    st.subheader(title)
    made = [report for report in reports if "problem" not in report["figures"]]
    if not made:
        st.caption("No report yet: the schedule makes one a day, `encore kpis --now` one at once.")
        return
    frame = pd.DataFrame(
        [_plain(report["figures"]) for report in made],
        index=pd.to_datetime([report["slot"] for report in made]),
    ).sort_index()
    names = list(frame.columns)
    chosen = st.selectbox("Figure", names, index=names.index(first) if first in names else 0, key=key)
    st.line_chart(frame[[chosen]])
    newest = made[0]
    st.caption(f"Newest: {when(newest['slot'])} UTC" + _about(newest))
    table([{"figure": name, "value": number(value)} for name, value in _plain(newest["figures"]).items()], "Empty.")


def _plain(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}


def _about(report: Mapping[str, Any]) -> str:
    return "" if report["model_id"] is None else f", model {report['model_id']}"
