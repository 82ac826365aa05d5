"""Cron expressions of five fields: minute, hour, day of month, month, day of week (0 and 7 are Sunday); UTC.

A field is `*`, a number, a range `a-b`, a list `a,b`, each with an optional step `/n`. Where both days are restricted,
either suffices, as in POSIX (https://pubs.opengroup.org/onlinepubs/9799919799/utilities/crontab.html).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.domain.exceptions import InputError

_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_LONGEST = timedelta(days=8 * 366)
"""The 29th of February comes every eighth year around a century that is no leap year."""
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression; `text` is how it was written."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Raises InputError for anything that is not such an expression, or never comes true."""
        fields = text.split()
        if len(fields) != len(_BOUNDS):
            raise InputError("a schedule has five fields: minute, hour, day, month, weekday")
        minutes, hours, days, months, weekdays = (
            _values(field, *bounds) for field, bounds in zip(fields, _BOUNDS, strict=True)
        )
        either = not fields[2].startswith("*") and not fields[4].startswith("*")
        cron = cls(" ".join(fields), minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either)
        cron.latest(datetime(2024, 12, 31, 23, 59, tzinfo=UTC))
        return cron

    def matches(self, moment: datetime) -> bool:
        """Is this minute (UTC) one of the schedule's?"""
        return self._on(moment) and moment.hour in self.hours and moment.minute in self.minutes

    def latest(self, now: datetime) -> datetime:
        """The newest minute of the schedule at or before `now`: the slot that a run belongs to."""
        moment = now.astimezone(UTC).replace(second=0, microsecond=0)
        oldest = moment - _LONGEST
        while moment > oldest:
            if not self._on(moment):
                moment = moment.replace(hour=23, minute=59) - timedelta(days=1)
            elif self.matches(moment):
                return moment
            else:
                moment -= _MINUTE
        raise InputError("a schedule that never comes true")

    def _on(self, moment: datetime) -> bool:
        """Is this date one of the schedule's?"""
        day, weekday = moment.day in self.days, moment.isoweekday() % 7 in self.weekdays
        return moment.month in self.months and (day or weekday if self.either_day else day and weekday)


def _values(field: str, low: int, high: int) -> frozenset[int]:
    return frozenset(value for part in field.split(",") for value in _part(part, low, high))


def _part(part: str, low: int, high: int) -> range:
    span, _, step = part.partition("/")
    first, dash, last = span.partition("-")
    try:
        start, stop = (low, high) if span == "*" else (int(first), int(last) if dash else int(first))
        stop = high if step and span != "*" and not dash else stop
        stride = int(step) if step else 1
    except ValueError:
        raise InputError("a schedule field is *, a number, a range or a list, each with an optional step") from None
    if not low <= start <= stop <= high or stride < 1 or part.endswith("/"):
        raise InputError(f"a schedule field is out of bounds: {low} to {high}")
    return range(start, stop + 1, stride)
