"""Figures of lists per day and model version, worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from app import telemetry
from app.application.reporting.list_kpis import MAX_GROUPS, ListKpis, TakenUp
from app.application.reporting.report_gauges import show_kpis
from app.application.reporting.reporter import BY_MODEL, KPIS
from app.domain.entities import Kind
from app.domain.reports import Report
from app.domain.request_log import RequestEntry, ShownItem, user_pseudonym
from tests.unit.test_kpis import NOW, Event, columns

SECRET = b"secret for tests"
CATALOG = {"i1", "i2", "i3", "i4"}
EVENTS: tuple[Event, ...] = (
    ("u1", "i1", Kind.WATCH, 30, 100, 1),
    ("u2", "i1", Kind.WATCH, 30, 100, 40),
    ("u2", "i2", Kind.DISLIKE, 1, np.nan, 1),
)


def shown(
    user_id: str, hours_ago: float, *items: str, version: int = 1, seconds: float = 0.01, **more: object
) -> RequestEntry:
    lines = tuple(ShownItem(item, rank, 1.0, "content", 1.0) for rank, item in enumerate(items, 1))
    values: dict[str, object] = {
        "request_id": "r",
        "at": NOW - timedelta(hours=hours_ago),
        "user": user_pseudonym(SECRET, user_id),
        "surface": "recs",
        "model_id": f"m{version}",
        "model_version": version,
        "experiment_id": None,
        "variant": None,
        "is_preview": False,
        "fallback_reason": None,
        "from_cache": False,
        "seconds": seconds,
        "items": lines,
    }
    return RequestEntry(**{**values, **more})  # type: ignore[arg-type]  # as the defaults above have them


def counted(*entries: RequestEntry) -> ListKpis:
    watched = columns(*EVENTS)
    kpis = ListKpis(watched, CATALOG, TakenUp(watched, SECRET, timedelta(hours=24)))
    kpis.add(entries)
    return kpis


def test_each_figure_is_what_a_person_would_count() -> None:
    (row,) = counted(
        shown("u1", 3, "i1", "i2"),  # watched two hours later
        shown("u1", 0.5, "i1", seconds=0.2, from_cache=True),  # watched before, not after
        shown("u2", 2, "i2", fallback_reason="overloaded"),  # a dislike is no hit
        shown("u2", 2, "i3", is_preview=True),
        shown("u2", 2, "i3", surface="session"),
    ).rows()

    assert (row["day"], row["version"], row["lists"]) == ("2026-11-21", 1, 3.0)
    assert row["hit_rate"] == row["fallback_share"] == row["cache_hits"] == pytest.approx(1 / 3)
    assert row["coverage"] == 0.5
    # i1: 2 of 2 users, (2+1)/(2+1); i2: 1 of 2, (1+1)/(2+1).
    assert row["novelty"] == pytest.approx((0 - np.log2(2 / 3) + 0 - np.log2(2 / 3)) / 4)
    assert row["latency_p50_ms"] == pytest.approx(10, rel=0.03)
    assert row["latency_p99_ms"] == pytest.approx(200, rel=0.03)


def test_an_event_after_the_window_is_no_hit_and_one_of_another_item_neither() -> None:
    (row,) = counted(shown("u2", 65, "i1"), shown("u2", 41, "i3"), shown("stranger", 2, "i1")).rows()[-1:]

    assert row["hit_rate"] == 0.0


def test_versions_and_days_stand_apart_and_together_in_the_totals() -> None:
    kpis = counted(shown("u1", 3, "i1"), shown("u1", 3, "i2", version=2), shown("u1", 30, "i1"))

    assert [(row["day"], row["version"]) for row in kpis.rows()] == [
        ("2026-11-21", 2),
        ("2026-11-21", 1),
        ("2026-11-20", 1),
    ]
    assert (kpis.totals()["lists"], kpis.totals()["list_coverage"]) == (3.0, 0.5)


def test_without_lists_nothing_is_claimed() -> None:
    assert counted().rows() == []
    assert counted().totals()["list_hit_rate"] is None


def test_memory_is_bounded_however_many_versions_there_are() -> None:
    kpis = counted(*(shown("u1", 3, "i1", version=version) for version in range(MAX_GROUPS + 50)))

    assert len(kpis.rows()) == MAX_GROUPS + 1
    assert kpis.rows()[0]["day"] == "others"
    assert kpis.totals()["lists"] == MAX_GROUPS + 50


def test_the_newest_day_of_each_version_is_a_gauge_until_the_next_report() -> None:
    rows = counted(shown("u1", 3, "i1"), shown("u1", 30, "i1"), shown("u1", 30, "i1")).rows()
    at = datetime(2026, 11, 21, tzinfo=UTC)
    labels = {"model_id": "m1", "version": "1", "figure": "lists"}

    show_kpis(Report(KPIS, at, at, at, None, {BY_MODEL: rows}))
    assert telemetry.REGISTRY.get_sample_value("encore_model_kpi", labels) == 1.0

    show_kpis(Report(KPIS, at, at, at, None, {BY_MODEL: []}))
    assert telemetry.REGISTRY.get_sample_value("encore_model_kpi", labels) is None
