"""Import and export: files of rows into the database and back, in bounded batches, repeatable at any point.

An import is a sequence of whole batches, each in one transaction; identities come from content. So a run that was
killed leaves whole batches, and running it again adds what is missing and nothing twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from app.application.invalidation.generation_bumps import PendingBumps
from app.application.transfer.catalog_file_rows import ITEMS, USERS, CatalogRows, Reading
from app.application.transfer.interaction_file_rows import InteractionRows
from app.domain.entities import IngestOutcome, Interaction, Item, User
from app.domain.files import BrokenRow, RowReader, RowWriter
from app.domain.stores import Database, IngestBatch

CATALOG_BATCH_ROWS = 1_000
REJECT_COLUMNS = ("file", "line", "reason", "row")
_GAP_SECONDS = 0.01
"""Between two batches: where there is one writer at a time, a server's small ones find their moment here."""

_MAX_REJECT_CHARACTERS = 4_096
T = TypeVar("T")
Entry = TypeVar("Entry", bound=Item | User)
FileProgress = Callable[[str, float], None]


@dataclass(slots=True)
class ImportSummary:
    """What became of the rows of an import."""

    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, other: ImportSummary) -> None:
        """Count another's rows too."""
        self.read += other.read
        self.accepted += other.accepted
        self.duplicates += other.duplicates
        self.rejected += other.rejected
        self.reasons += other.reasons


class Rejects:
    """Where rows go that are not taken: counted, and written down if there is a file for them."""

    def __init__(self, writer: RowWriter | None = None) -> None:
        self._writer = writer

    def take(self, tally: ImportSummary, file: str, rows: Sequence[BrokenRow]) -> None:
        """Count rows and write them down."""
        tally.rejected += len(rows)
        tally.reasons.update(row.reason for row in rows)
        if self._writer is not None and rows:
            self._writer.write([(file, row.line, row.reason, row.text[:_MAX_REJECT_CHARACTERS]) for row in rows])


_REFUSALS = {
    IngestOutcome.CONFLICT: "event_id is known with other content",
    IngestOutcome.TOMBSTONED: "the user was erased after this event",
}


class Importer:
    """Files into a database. `progress` is told the file and how much of it is done, 0–1."""

    def __init__(self, database: Database, bumps: PendingBumps, rejects: Rejects, progress: FileProgress) -> None:
        self._database = database
        self._bumps = bumps
        self._rejects = rejects
        self._progress = progress

    async def interactions(self, reader: RowReader, rows: InteractionRows) -> ImportSummary:
        """Take in a file of interactions; the lists of their users are renewed."""
        tally = ImportSummary()
        async for events, bad, count in _ahead(_decoded_events(reader, rows, self._database.interactions.bulk_rows)):
            tally.read += count
            await asyncio.to_thread(self._rejects.take, tally, reader.name, bad)
            result = await self._database.interactions.ingest(IngestBatch(events))
            self._count(tally, reader.name, events, result.outcomes)
            self._bumps.add(result.touched)
            await self._bumps.flush()
            self._progress(reader.name, reader.fraction())
            await asyncio.sleep(_GAP_SECONDS)
        return tally

    def _count(
        self, tally: ImportSummary, file: str, events: Sequence[Interaction], outcomes: Sequence[IngestOutcome]
    ) -> None:
        tally.accepted += outcomes.count(IngestOutcome.ACCEPTED)
        tally.duplicates += outcomes.count(IngestOutcome.DUPLICATE)
        for refusal, reason in _REFUSALS.items():
            if refusal in outcomes:
                refused = [event for event, outcome in zip(events, outcomes, strict=True) if outcome is refusal]
                self._rejects.take(tally, file, [BrokenRow(0, reason, str(event.event_id)) for event in refused])

    async def items(self, reader: RowReader, reading: Reading) -> ImportSummary:
        """Take in a file of items. A row that is not newer than what is stored counts as a duplicate."""
        return await self._catalog(reader, reading, ITEMS, self._database.catalog.upsert_items)

    async def users(self, reader: RowReader, reading: Reading) -> ImportSummary:
        """Take in a file of users, as `items`; the lists of the users are renewed."""

        async def upsert(users: Sequence[User]) -> int:
            written = await self._database.catalog.upsert_users(users)
            self._bumps.add({user.user_id for user in users})
            await self._bumps.flush()
            return written

        return await self._catalog(reader, reading, USERS, upsert)

    async def _catalog(
        self,
        reader: RowReader,
        reading: Reading,
        rows: CatalogRows[Entry],
        upsert: Callable[[Sequence[Entry]], Awaitable[int]],
    ) -> ImportSummary:
        tally = ImportSummary()
        async for entries, bad, count in _ahead(_decoded_entries(reader, rows, reading)):
            tally.read += count
            await asyncio.to_thread(self._rejects.take, tally, reader.name, bad)
            written = await upsert(entries)
            tally.accepted += written
            tally.duplicates += len(entries) - written
            self._progress(reader.name, reader.fraction())
        return tally


DecodedRow = tuple[Sequence[T], list[BrokenRow], int]


def _decoded_events(reader: RowReader, rows: InteractionRows, size: int) -> Iterator[DecodedRow[Interaction]]:
    above = 0
    for batch in reader.batches(size):
        good, bad = rows.decode(batch, above)
        count = len(batch.rows) + len(batch.broken)
        above += count
        yield good, [*batch.broken, *bad], count


def _decoded_entries(reader: RowReader, rows: CatalogRows[Entry], reading: Reading) -> Iterator[DecodedRow[Entry]]:
    for batch in reader.batches(CATALOG_BATCH_ROWS):
        good, bad = rows.decode(batch, reading)
        yield good, [*batch.broken, *bad], len(batch.rows) + len(batch.broken)


async def _ahead(values: Iterator[T]) -> AsyncIterator[T]:
    """The values, each made in a thread while the one before is being used: reading and writing overlap."""
    end = object()
    upcoming = asyncio.ensure_future(asyncio.to_thread(next, values, end))
    try:
        while (value := await upcoming) is not end:
            upcoming = asyncio.ensure_future(asyncio.to_thread(next, values, end))
            yield value  # type: ignore[misc]  # it is not `end`, so it is a T
    finally:
        await asyncio.gather(upcoming, return_exceptions=True)
