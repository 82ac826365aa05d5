"""Schedules: cron expressions of five fields (minute, hour, day of month, month, day of week) in UTC, read by cronsim.

Where both days are restricted, either suffices, as in Debian's cron (https://github.com/cuu508/cronsim).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from app.domain.exceptions import InputError

_FIELDS = 5
_MINUTE = timedelta(minutes=1)
_ANY_MOMENT = datetime(2024, 12, 31, 23, 59, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cron:
    """A valid expression; `text` is how it was written."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Raises InputError for anything that is not such an expression, or never comes true."""
        # A sixth field would be seconds: nothing of ours runs more often than once a minute.
        if len(text.split()) != _FIELDS:
            raise InputError("a schedule has five fields: minute, hour, day, month, weekday")
        cron = cls(" ".join(text.split()))
        cron.latest(_ANY_MOMENT)
        return cron

    def latest(self, now: datetime) -> datetime:
        """The newest minute of the schedule at or before `now`: the slot that a run belongs to."""
        after = now.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE
        try:
            return next(CronSim(self.text, after, reverse=True))
        except CronSimError as error:
            raise InputError(f"a schedule that cron does not know: {error}") from None
        except StopIteration:
            raise InputError("a schedule that never comes true") from None
