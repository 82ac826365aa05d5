"""Schedules: which minutes they mean, and which slot a moment belongs to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.domain.cron import Cron
from app.domain.exceptions import InputError

NOW = datetime(2026, 11, 21, 9, 24, 41, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("* * * * *", "2026-11-21T09:24Z"),
        ("*/5 * * * *", "2026-11-21T09:20Z"),
        ("3-59/20 * * * *", "2026-11-21T09:23Z"),
        ("10/10 * * * *", "2026-11-21T09:20Z"),
        ("0 3 * * *", "2026-11-21T03:00Z"),
        ("0 12 * * *", "2026-11-20T12:00Z"),
        ("0 3,9 * * *", "2026-11-21T09:00Z"),
        ("0 3 * * 7", "2026-11-15T03:00Z"),
        ("0 3 * * 0", "2026-11-15T03:00Z"),
        ("0 3 * * 1-5", "2026-11-20T03:00Z"),
        ("30 23 1 * *", "2026-11-01T23:30Z"),
        ("0 0 1 1 *", "2026-01-01T00:00Z"),
        ("0 0 29 2 *", "2024-02-29T00:00Z"),
        ("0 0 13 * 5", "2026-11-20T00:00Z"),
        ("0 3 * * MON", "2026-11-16T03:00Z"),
    ],
)
def test_a_moment_belongs_to_the_newest_slot_before_it(text: str, slot: str) -> None:
    cron = Cron.parse(text)

    assert cron.latest(NOW) == datetime.fromisoformat(slot)


def test_a_slot_begins_with_its_minute_and_is_told_in_utc() -> None:
    cron = Cron.parse("24 9 * * *")
    start = NOW.replace(second=0)

    assert cron.latest(start) == start
    assert cron.latest(start - timedelta(seconds=1)) == start - timedelta(days=1)
    assert cron.latest(start.astimezone(timezone(timedelta(hours=5)))) == start


@pytest.mark.parametrize(
    "text",
    [
        *("", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *"),
        *("*/ * * * *", "5-1 * * * *", "a * * * *", "1- * * * *", "-1 * * * *", "0 0 30 2 *", "1,,2 * * * *", "@daily"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Cron.parse(text)
