"""Experiments: create, start, pause, stop, read results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from app.dashboard.api_client import path_of
from app.dashboard.connection import act, api, number, table, when
from app.dashboard.pages.trainings import TYPES

METRICS = ("hit_rate", "watch_ratio", "likes_per_list", "purchases_per_list", "fallback_share", "empty_share")
STEPS = {"draft": ("running",), "running": ("paused", "stopped"), "paused": ("running", "stopped"), "stopped": ()}
VERBS = {"running": "Start", "paused": "Pause", "stopped": "Stop"}
AS_FOR_ALL = "as for everybody"


def page() -> None:
    """A form, the list, one experiment."""
    _create()
    experiments = api().get("/api/v1/recs/experiments", limit=50)["experiments"]
    st.subheader("All")
    rows = [
        {
            "name": one["name"],
            "status": one["status"],
            "layer": one["layer"],
            "share": number(one["share"]),
            "metric": one["primary_metric"],
            "started": when(one["started_at"]),
        }
        for one in experiments
    ]
    table(rows, "No experiment yet.")
    if experiments:
        by_name = {f"{one['name']} ({one['id'][:8]})": one for one in experiments}
        _one(by_name[st.selectbox("Experiment", list(by_name))])


def _create() -> None:
    with st.expander("New experiment"):
        name = st.text_input("Name")
        hypothesis = st.text_input("Hypothesis")
        share = st.slider("Share of all users", 0.01, 1.0, 0.1)
        kind = st.selectbox("Variant's model type", (AS_FOR_ALL, *TYPES))
        diversity = st.slider("Variant's diversity", 0.0, 1.0, 0.3)
        metric = st.selectbox("Metric that decides", METRICS)
        variant = {"name": "variant", "share": 0.5, "diversity": diversity}
        if kind != AS_FOR_ALL:
            variant["type"] = kind
        body = {
            "name": name,
            "hypothesis": hypothesis,
            "share": share,
            "primary_metric": metric,
            "arms": [{"name": "control", "share": 0.5}, variant],
        }
        act(
            "Create experiment",
            lambda: api().send("POST", path_of("recs", "experiments"), body),
            "Created as a draft: nobody is in it until it is started.",
            "recs:admin",
            "create",
            primary=True,
        )


def _one(experiment: Mapping[str, Any]) -> None:
    st.subheader(experiment["name"])
    st.write(experiment["hypothesis"] or "No hypothesis is written down.")
    for status in STEPS[experiment["status"]]:
        body = {"status": status, "revision": experiment["revision"]}
        changed = act(
            f"{VERBS[status]} experiment",
            lambda body=body: api().send("PATCH", path_of("recs", "experiments", experiment["id"]), body),  # type: ignore[misc]  # a lambda's default has no type
            f"Now {status}.",
            "recs:admin",
            f"{status}-{experiment['id']}",
        )
        if changed:
            st.rerun()
    if experiment["status"] != "draft":
        _results(api().get(path_of("recs", "experiments", experiment["id"], "results")))


def _results(results: Mapping[str, Any]) -> None:
    st.write("Results")
    if results["is_split_broken"]:
        st.error("Users were not assigned as planned: trust nothing below.")
    arms = [
        {
            "arm": arm["name"],
            "users": number(arm["users"]),
            "lists": number(arm["lists"]),
            **{metric: number(value) for metric, value in arm["metrics"].items()},
        }
        for arm in results["arms"]
    ]
    table(arms, "No arm yet.")
    compared = [
        {
            "arm": one["arm"],
            "metric": one["metric"],
            "difference": one["difference"],
            "low": one["always_valid"]["low"],
            "high": one["always_valid"]["high"],
            "p": one["corrected_p_value"],
        }
        for one in results["comparisons"]
    ]
    table(
        [{name: number(value) for name, value in row.items()} for row in compared],
        "Too few users to compare the arms yet.",
    )
    if compared:
        base = alt.Chart(pd.DataFrame(compared)).encode(y="metric:N", color="arm:N")
        st.altair_chart(base.mark_rule().encode(x="low:Q", x2="high:Q") + base.mark_point().encode(x="difference:Q"))
