"""The database ports of what waits: events going out, and events that could not be taken in. Contracts: stores.py."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from app.domain.entities import DeadLetter, OutboxMessage


class OutboxStore(Protocol):
    """Events that were written with the truth and wait to be published."""

    @abstractmethod
    async def claim(self, limit: int, now: datetime, lease_seconds: float) -> Sequence[OutboxMessage]:
        """The oldest unpublished messages nobody else holds, in order."""

    @abstractmethod
    async def published(self, sequences: Collection[int], now: datetime) -> None:
        """Mark them as gone."""

    @abstractmethod
    async def pending(self) -> int:
        """How many wait."""

    @abstractmethod
    async def prune(self, before: datetime) -> int:
        """Delete what was published before that moment; returns how many went. What waits stays, however old."""


class DeadLetterStore(Protocol):
    """Events that could not be taken in, kept for a human."""

    @abstractmethod
    async def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep them (outside an ingest batch, e.g. from HTTP or a file).

        Here and in an ingest batch: one letter for each topic, partition, offset and sha256, so that a record that is
        read again leaves no second one. Letters without a topic are all kept.
        """

    @abstractmethod
    async def list(self, limit: int, after: int = 0, reason: str | None = None) -> Sequence[DeadLetter]:
        """In id order, strictly after `after`."""

    @abstractmethod
    async def get(self, dead_letter_id: int) -> DeadLetter | None:
        """One letter, or None."""

    @abstractmethod
    async def mark_replayed(self, ids: Collection[int], at: datetime) -> None:
        """They went in after all."""

    @abstractmethod
    async def count(self) -> int:
        """How many have not been replayed."""

    @abstractmethod
    async def held(self) -> tuple[int, int]:
        """(letters, bytes of their payloads), replayed ones included."""

    @abstractmethod
    async def prune(self, before: datetime) -> int:
        """Delete letters received before that moment; returns how many went."""

    @abstractmethod
    async def keep_newest(self, max_rows: int, max_bytes: int) -> int:
        """Delete the oldest letters until at most `max_rows` of at most `max_bytes` payload are left; how many went."""
