"""Lists and what came of them, worked out by hand."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from app.application.experimentation.exposures import SUMS, Exposures
from app.domain.entities import KINDS, EventColumns, Kind
from app.domain.experiments import Metric
from app.domain.request_log import RequestEntry, ShownItem

START = datetime(2026, 11, 21, tzinfo=UTC)
HOUR = 3_600.0
Event = tuple[str, str, Kind, float, float, float]
"""User, item, kind, value, duration, hours after the start."""


def columns(*events: Event) -> EventColumns:
    events = tuple(sorted(events, key=lambda event: (event[0], event[5])))
    users, items = sorted({event[0] for event in events}), sorted({event[1] for event in events})
    return EventColumns(
        tuple(users),
        tuple(items),
        np.array([users.index(event[0]) for event in events], dtype=np.int32),
        np.array([items.index(event[1]) for event in events], dtype=np.int32),
        np.array([KINDS.index(event[2]) for event in events], dtype=np.int8),
        np.array([event[3] for event in events], dtype=np.float32),
        np.array([event[4] for event in events], dtype=np.float32),
        np.array([START.timestamp() + event[5] * HOUR for event in events]),
    )


def shown(
    user: str, variant: str, hour: float, *items: str, seconds: float = 0.01, preview: bool = False
) -> RequestEntry:
    return RequestEntry(
        request_id=f"{user}-{hour}",
        at=START + timedelta(hours=hour),
        user=user.encode(),
        surface="recs",
        model_id=None,
        model_version=None,
        experiment_id="e",
        variant=variant,
        is_preview=preview,
        fallback_reason=None if items else "no_model",
        from_cache=False,
        seconds=seconds,
        items=tuple(ShownItem(item, rank, 1.0, "hybrid", 1.0) for rank, item in enumerate(items, start=1)),
    )


def exposures(events: EventColumns, *batches: Sequence[RequestEntry]) -> Exposures:
    users = [user.encode() for user in events.user_ids]
    found = Exposures(events, users, attribution_seconds=24 * HOUR, start=START.timestamp())
    for batch in batches:
        found.add(batch)
    found.finish()
    return found


def figures(found: Exposures, arm: str) -> dict[Metric, float | None]:
    sums = {metric: found.user_sums(metric, arm) for metric in SUMS}
    return {
        metric: float(one.numerator.sum() / one.denominator.sum()) if one.denominator.sum() else None
        for metric, one in sums.items()
    }


def test_each_metric_is_what_a_person_would_count() -> None:
    events = columns(
        ("u1", "a", Kind.WATCH, 95, 100, 2),
        ("u1", "b", Kind.WATCH, 25, 100, 3),
        ("u1", "a", Kind.RATING, 5, np.nan, 4),
        ("u2", "c", Kind.RATING, 2, np.nan, 2),
        ("u2", "c", Kind.PURCHASE, np.nan, np.nan, 3),
        ("u3", "z", Kind.LIKE, np.nan, np.nan, 2),  # nobody showed it
    )
    found = exposures(
        events,
        [shown("u1", "control", 1, "a", "b"), shown("u2", "control", 1, "c"), shown("u3", "control", 1, "a")],
        [shown("u1", "control", 5, "a", seconds=0.05), shown("u3", "control", 6), shown("u4", "new", 1, "a", "c")],
    )
    metrics = figures(found, "control")

    assert (found.n_users("control"), found.n_users("new"), found.n_users("other")) == (3, 1, 0)
    assert metrics[Metric.HIT_RATE] == pytest.approx(2 / 5)
    assert metrics[Metric.USER_HIT_RATE] == pytest.approx(2 / 3)
    assert metrics[Metric.WATCH_RATIO] == pytest.approx(0.6)
    assert metrics[Metric.WATCH_THROUGH] == pytest.approx(0.5)
    assert metrics[Metric.LIKES_PER_LIST] == pytest.approx(1 / 5)
    assert metrics[Metric.RATINGS_PER_LIST] == pytest.approx(2 / 5)
    assert metrics[Metric.PURCHASES_PER_LIST] == pytest.approx(1 / 5)
    assert metrics[Metric.LATENCY_MS] == pytest.approx((4 * 10 + 50) / 5)
    assert metrics[Metric.FALLBACK_SHARE] == metrics[Metric.EMPTY_SHARE] == pytest.approx(1 / 5)
    assert found.arms["control"].items == {"a", "b", "c"}
    assert figures(found, "new")[Metric.HIT_RATE] == 0


def test_an_outcome_belongs_to_the_newest_list_before_it_within_the_window() -> None:
    events = columns(
        ("u1", "a", Kind.CLICK, np.nan, np.nan, 2),  # of the first list
        ("u1", "a", Kind.CLICK, np.nan, np.nan, 11),  # of the second
        ("u1", "a", Kind.CLICK, np.nan, np.nan, 40),  # of none: 30 hours after the second
        ("u2", "a", Kind.CLICK, np.nan, np.nan, 0.5),  # of none: before the list
    )
    lists = [
        shown("u1", "first", 1, "a"),
        shown("u1", "second", 10, "a"),
        shown("u1", "preview", 10.5, "a", preview=True),
        shown("u2", "first", 1, "a"),
    ]
    forwards, backwards = exposures(events, lists), exposures(events, [*lists[::-1]])

    for found in (forwards, backwards):
        assert found.arms["first"].users[b"u1"].hits == 1
        assert found.arms["second"].users[b"u1"].hits == 1
        assert found.arms["first"].users[b"u2"].hits == 0
        assert "preview" not in found.arms


def test_novelty_is_high_where_few_had_the_items_before() -> None:
    before = [(f"u{number}", "known", Kind.VIEW, np.nan, np.nan, -5.0) for number in range(7)]
    found = exposures(columns(*before), [shown("u1", "old", 1, "known"), shown("u2", "new", 1, "fresh", "known")])

    assert figures(found, "old")[Metric.NOVELTY] == pytest.approx(0.0)
    assert figures(found, "new")[Metric.NOVELTY] == pytest.approx(3 / 2)  # log2(8 / 1) and log2(8 / 8)
    assert found.before[b"u1"] == 1


def test_memory_does_not_grow_with_the_lists() -> None:
    events = columns(*((f"u{number}", "a", Kind.CLICK, np.nan, np.nan, 900.0) for number in range(50)))

    def batches(first: int) -> Iterator[list[RequestEntry]]:
        for hour in range(first, first + 40):
            yield [shown(f"u{number}", "control", hour, "a", f"i{hour % 7}") for number in range(50)]

    found = exposures(events, *batches(0))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for batch in batches(40):
        found.add(batch)
    del batch
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert grown < 20 * 2_000  # of 2,000 lists: what the old way kept was ten times as much
