"""Models: versions side by side, verdicts of the gate, promote, roll back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.dashboard.api_client import path_of
from app.dashboard.connection import act, api, number, table, when

Model = Mapping[str, Any]


def page() -> None:
    """The registry."""
    models = api().get("/api/v1/recs/models", limit=100)["models"]
    rows = [
        {
            "version": name_of(model),
            "status": model["status"],
            "created": when(model["created_at"]),
            "promoted": when(model["promoted_at"]),
            **{metric: number(value) for metric, value in quality_of(model).items()},
        }
        for model in models
    ]
    table(rows, "No model yet: start a training.")
    if not models:
        return
    by_name = {name_of(model): model for model in models}
    names = list(by_name)
    chosen = st.multiselect("Side by side", names, default=names[:2], max_selections=3)
    if chosen:
        for column, name in zip(st.columns(len(chosen)), chosen, strict=True):
            with column:
                _version(by_name[name])
    st.subheader("Roll back")
    champions = sorted({model["type"] for model in models if model["status"] == "champion"})
    for kind in champions:
        st.write(f"The version before the champion of type {kind} becomes the champion again.")
        body = {"model_type": kind}
        act(
            f"Roll {kind} back",
            lambda body=body: api().send("POST", path_of("recs", "models", "rollback"), body),  # type: ignore[misc]  # a lambda's default has no type
            "Rolled back. Servers follow within seconds.",
            "recs:admin",
            f"rollback-{kind}",
        )


def name_of(model: Model) -> str:
    """As people call a version."""
    return f"{model['type']} {model['version']}"


def quality_of(model: Model) -> Mapping[str, float]:
    """The figures of its hold-out."""
    quality = model["metrics"].get("quality")
    return quality if isinstance(quality, Mapping) else {}


def _version(model: Model) -> None:
    st.subheader(name_of(model))
    st.caption(f"{model['status']}; id {model['id']}")
    verdict = model["metrics"].get("verdict")
    if verdict:
        (st.success if verdict["promote"] else st.warning)("; ".join(verdict["reasons"]) or "promoted")
    _judged(model["metrics"])
    st.write("Recipe and data")
    st.json(model["lineage"] or {}, expanded=False)
    act(
        f"Promote {name_of(model)}",
        lambda: api().send("POST", path_of("recs", "models", model["id"], "promote")),
        "Promoted. Servers follow within seconds.",
        "recs:admin",
        f"promote-{model['id']}",
    )


def _judged(metrics: Mapping[str, Any]) -> None:
    """Candidate, champion of then and popularity, with intervals; then slices of the candidate."""
    judged = [(who, metrics.get(who)) for who in ("candidate", "champion", "popularity")]
    rows = [
        {"judged": who, "metric": name, "mean": number(value["mean"]), "95 % interval": interval(value)}
        for who, evaluation in judged
        if evaluation
        for name, value in evaluation["metrics"].items()
    ]
    table(rows, "Not judged on held-out events.")
    slices = (metrics.get("candidate") or {}).get("slices", {})
    if slices:
        st.write("Slices")
        table(_slices(slices), "None.")


def _slices(slices: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"slice": name, "users": number(one.get("users")), "metric": metric, "mean": number(_mean(value))}
        for name, one in slices.items()
        for metric, value in _metrics(one)
    ]


def _metrics(one: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    metrics = one.get("metrics")
    return list(metrics.items()) if isinstance(metrics, Mapping) else []


def _mean(value: Any) -> Any:
    return value["mean"] if isinstance(value, Mapping) else value


def interval(value: Mapping[str, float]) -> str:
    """Low to high."""
    return f"{number(value['low'])} to {number(value['high'])}"
