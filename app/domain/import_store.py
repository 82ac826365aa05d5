"""Imports that were made, so that one can be taken back: the noun and its store. Contracts as in stores.py."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from app.domain.exceptions import ConflictError


class ImportKind(StrEnum):
    """What an import took in; `movielens` is a folder of items, users and interactions."""

    INTERACTIONS = "interactions"
    ITEMS = "items"
    USERS = "users"
    MOVIELENS = "movielens"


class ImportState(StrEnum):
    """`unfinished` is one that runs, or whose process ended before it did; `undoing` is one that is taken back."""

    UNFINISHED = "unfinished"
    FINISHED = "finished"
    UNDOING = "undoing"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """One run of `encore import`. `files` are names without folders.

    `rows` are the interactions it added (entries of the catalog it wrote, for items and users); `first_sequence` and
    `last_sequence` enclose them, and perhaps rows that others added meanwhile.
    """

    import_id: str
    kind: ImportKind
    files: Sequence[str]
    started_at: datetime
    state: ImportState = ImportState.UNFINISHED
    rows: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None
    finished_at: datetime | None = None
    undone_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RemovedRows:
    """What one transaction of an undo removed: so many interactions, of these users."""

    rows: int
    users: Collection[str]


def refuse_undo(record: ImportRecord) -> None:
    """Raise ConflictError for an import that cannot be taken back."""
    if record.state is ImportState.UNDONE:
        raise ConflictError("this import has been undone already")
    if record.kind in {ImportKind.ITEMS, ImportKind.USERS}:
        raise ConflictError(
            f"an import of {record.kind} cannot be undone: it replaces what was there, and earlier versions are not "
            "kept; import the earlier file with newer times, or remove single ones over HTTP"
        )


class ImportStore(Protocol):
    """Which import added which interactions."""

    @abstractmethod
    async def start(self, record: ImportRecord) -> None:
        """Note an import before its first row; batches name it then (`IngestBatch.import_id`)."""

    @abstractmethod
    async def finish(self, import_id: str, at: datetime, entries: int = 0) -> None:
        """Note that it came to its end, `entries` of the catalog written. Nothing happens to one that is undone."""

    @abstractmethod
    async def get(self, import_id: str) -> ImportRecord | None:
        """The import, or None."""

    @abstractmethod
    async def list(self, limit: int) -> Sequence[ImportRecord]:
        """Newest first."""

    @abstractmethod
    def undo(self, import_id: str, at: datetime) -> AsyncIterator[RemovedRows]:
        """Remove the interactions of an import, a bounded number in a transaction; yields after each.

        Afterwards everything is as if they had never come: their ids are free, the state of each (user, item, kind)
        is worked out from what is left, and users and items that only they had named are gone. From the first step on
        a batch of this import that is still to come is refused with ConflictError. One that was broken off goes on
        where it was. Raises NotFoundError, and ConflictError as `refuse_undo` does.
        """
