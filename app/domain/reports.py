"""Figures that are worked out by the clock (KPIs, the champion's quality): the noun and its store."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Report:
    """One run of a report. `slot` is the minute of the schedule it belongs to; `made_at` is None while it is made.

    `figures` are JSON; `model_id` is the model they are about, where they are about one.
    """

    name: str
    slot: datetime
    claimed_at: datetime
    made_at: datetime | None = None
    model_id: str | None = None
    figures: Mapping[str, object] = field(default_factory=dict)


class ReportStore(Protocol):
    """One row a slot: whoever claims it first works it out. Contracts as in stores.py."""

    @abstractmethod
    async def claim(self, name: str, slot: datetime, now: datetime) -> bool:
        """True for one caller a slot, who works it out and calls `finish`; True again once that one's process died."""

    @abstractmethod
    async def finish(self, report: Report) -> bool:
        """Store the figures of a claimed slot; False, and nothing stored, if they are stored already."""

    @abstractmethod
    async def is_due(self, name: str, slot: datetime, now: datetime) -> bool:
        """Whether `claim` would be True now: nobody has stored the figures of this slot, or works them out."""

    @abstractmethod
    async def latest(self, name: str) -> Report | None:
        """The figures of the newest slot that has any, or None."""

    @abstractmethod
    async def newest(self, name: str, limit: int) -> Sequence[Report]:
        """The figures of up to `limit` slots that have any, newest first."""

    @abstractmethod
    async def prune(self, name: str, before: datetime) -> int:
        """Delete reports of slots before that moment, but never the newest; returns how many went."""
