"""Trainings: start, watch, cancel."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import streamlit as st

from app.dashboard.api_client import path_of
from app.dashboard.connection import act, api, may, number, table, when

TYPES = ("hybrid", "collaborative", "content", "sequential", "popular", "als", "bpr", "lightfm")
REFRESH_SECONDS = 2
OPEN = ("queued", "running")


def page() -> None:
    """A form, what runs, what ran."""
    if not may("recs:train"):
        st.info("This key lacks the scope recs:train: trainings can be neither seen nor started with it.")
        return
    st.subheader("Start")
    kind = st.selectbox("Model type", TYPES)
    bounds = st.date_input("Events of these days; empty: all", value=[], format="YYYY-MM-DD")
    act(
        "Start training",
        lambda: api().send("POST", path_of("recs", "train"), _body(kind, bounds)),
        "Queued.",
        "recs:train",
        "start",
        primary=True,
    )
    _running()


def _body(kind: str, bounds: Any) -> Mapping[str, Any]:
    days = [day for day in bounds if isinstance(day, date)] if isinstance(bounds, tuple) else []
    names = ("start_date", "end_date")
    return {
        "model_type": kind,
        **{name: f"{day.isoformat()}T00:00:00Z" for name, day in zip(names, days, strict=False)},
    }


@st.fragment(run_every=REFRESH_SECONDS)
def _running() -> None:
    trainings = api().get("/api/v1/recs/train", limit=20)["trainings"]
    st.subheader("Now")
    running = [job for job in trainings if job["status"] in OPEN]
    for job in running:
        name = f"{job['model_type']} {job['training_id']}"
        st.progress(min(max(float(job["progress"]), 0.0), 1.0), text=f"{name}: {job['stage']}")
        act(
            f"Cancel {name}",
            lambda job=job: api().send("DELETE", path_of("recs", "train", job["training_id"])),  # type: ignore[misc]  # a lambda's default has no type
            "Asked to stop.",
            "recs:train",
            f"cancel-{job['training_id']}",
        )
    if not running:
        st.caption("Nothing is training.")
    st.subheader("Before")
    rows = [
        {
            "type": job["model_type"],
            "status": job["status"],
            "stage": job["stage"],
            "progress": number(round(job["progress"], 2)),
            "created": when(job["created_at"]),
            "ended": when(job["finished_at"]),
            "reason": job["reason"] or "–",
        }
        for job in trainings
    ]
    table(rows, "No training yet.")
