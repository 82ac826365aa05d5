"""The key figures, worked out by hand on a few interactions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from app.application.reporting.kpis import kpis_of
from app.domain.entities import KINDS, EventColumns, Kind

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
Event = tuple[str, str, Kind, float, float, float]
"""User, item, kind, value, duration, hours ago."""


def columns(*events: Event) -> EventColumns:
    users, items = sorted({event[0] for event in events}), sorted({event[1] for event in events})
    return EventColumns(
        tuple(users),
        tuple(items),
        np.array([users.index(event[0]) for event in events], dtype=np.int32),
        np.array([items.index(event[1]) for event in events], dtype=np.int32),
        np.array([KINDS.index(event[2]) for event in events], dtype=np.int8),
        np.array([event[3] for event in events], dtype=np.float32),
        np.array([event[4] for event in events], dtype=np.float32),
        np.array([(NOW - timedelta(hours=event[5])).timestamp() for event in events]),
    )


def test_each_figure_is_what_a_person_would_count() -> None:
    watched = columns(
        ("u1", "i1", Kind.WATCH, 30, 100, 1),
        ("u1", "i2", Kind.WATCH, 95, 100, 2),
        ("u2", "i1", Kind.WATCH, 200, 100, 30),  # seen twice in one go: all of it, not more
        ("u2", "i3", Kind.WATCH, 10, np.nan, 30),  # nobody knows how long it is
        ("u3", "i1", Kind.RATING, 4, np.nan, 100),
        ("u3", "gone", Kind.RATING, 5, np.nan, 3),
    )

    figures = kpis_of(watched, {"i1", "i2", "i3", "i4"}, NOW, 7)

    assert figures == {
        "days": 7,
        "interactions": 6,
        "interactions_per_day": 6 / 7,
        "interactions_last_day": 3,
        "active_users": 3,
        "active_users_last_day": 2,
        "catalogue_items": 4,
        "catalogue_coverage": 0.75,
        "watches": 4,
        "watch_through": pytest.approx((0.3 + 0.95 + 1.0) / 3),
        "watches_finished": pytest.approx(2 / 3),
        "ratings": 2,
        "mean_rating": 4.5,
    }


def test_a_mean_of_nothing_is_nothing() -> None:
    figures = kpis_of(columns(), (), NOW, 7)

    assert [name for name, value in figures.items() if value is None] == [
        "catalogue_coverage",
        "watch_through",
        "watches_finished",
        "mean_rating",
    ]
    assert all(value == 0 for name, value in figures.items() if value is not None and name != "days")
