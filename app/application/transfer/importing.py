"""Import and export: files of rows into the database and back, in bounded batches, repeatable at any point.

An import is a sequence of whole batches, each in one transaction; identities come from content. So a run that was
killed leaves whole batches, and running it again adds what is missing and nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from app.application.invalidation.generation_bumps import PendingBumps
from app.application.transfer.catalog_file_rows import ITEMS, USERS, CatalogRows, Reading
from app.application.transfer.columns import Condition
from app.application.transfer.decoding import DecodedBatch, ahead, decoded_entries, decoded_events
from app.application.transfer.import_summary import ImportSummary, Rejects
from app.application.transfer.interaction_file_rows import InteractionRows
from app.application.transfer.undated import UndatedRows, is_undated
from app.domain.entities import IngestOutcome, Interaction, Item, User
from app.domain.files import BrokenRow, RowReader
from app.domain.stores import Database, IngestBatch

CATALOG_BATCH_ROWS = 4_000
_GAP_SECONDS = 0.01
"""Between two batches: where there is one writer at a time, a server's small ones find their moment here."""

Entry = TypeVar("Entry", bound=Item | User)
FileProgress = Callable[[str, float], None]

_REFUSALS = {
    IngestOutcome.CONFLICT: "event_id is known with other content",
    IngestOutcome.TOMBSTONED: "the user was erased after this event",
}


class Importer:
    """Files into a database. `progress` is told the file and how much of it is done, 0–1.

    Only rows in which all `conditions` hold are taken. Interactions are noted as those of `import_id`.
    """

    def __init__(
        self,
        database: Database,
        bumps: PendingBumps,
        rejects: Rejects,
        progress: FileProgress,
        conditions: Sequence[Condition] = (),
        import_id: str | None = None,
    ) -> None:
        self._database = database
        self._import_id = import_id
        self._bumps = bumps
        self._rejects = rejects
        self._progress = progress
        self._conditions = conditions

    async def interactions(self, reader: RowReader, rows: InteractionRows) -> ImportSummary:
        """Take in a file of interactions; the lists of their users are renewed."""
        tally = ImportSummary(files={reader.name: reader.findings})
        rows = replace(rows, undated=UndatedRows())
        size = self._database.interactions.bulk_rows
        async for decoded in ahead(decoded_events(reader, rows, self._conditions, size)):
            await self._note(tally, reader, decoded)
            events = decoded.good
            result = await self._database.interactions.ingest(IngestBatch(events, import_id=self._import_id))
            self._count(tally, reader.name, events, result.outcomes)
            self._bumps.add(result.touched)
            await self._bumps.flush()
            await asyncio.sleep(_GAP_SECONDS)
        tally.undated = rows.undated.count
        return tally

    async def _note(
        self, tally: ImportSummary, reader: RowReader, decoded: DecodedBatch[Interaction] | DecodedBatch[Entry]
    ) -> None:
        tally.read += decoded.read
        tally.left_out += decoded.left_out
        tally.saw(decoded.columns, decoded.places)
        await asyncio.to_thread(self._rejects.take, tally, reader.name, decoded.bad)
        self._progress(reader.name, reader.fraction())

    def _count(
        self, tally: ImportSummary, file: str, events: Sequence[Interaction], outcomes: Sequence[IngestOutcome]
    ) -> None:
        tally.accepted += outcomes.count(IngestOutcome.ACCEPTED)
        tally.duplicates += outcomes.count(IngestOutcome.DUPLICATE)
        for refusal, reason in _REFUSALS.items():
            if refusal in outcomes:
                refused = [event for event, outcome in zip(events, outcomes, strict=True) if outcome is refusal]
                known = [event for event in refused if refusal is IngestOutcome.CONFLICT and is_undated(event)]
                tally.duplicates += len(known)
                broken = [BrokenRow(0, reason, str(event.event_id)) for event in refused if event not in known]
                self._rejects.take(tally, file, broken)

    async def items(self, reader: RowReader, reading: Reading) -> ImportSummary:
        """Take in a file of items. A row that is stored already is a duplicate; where a newer one is, it is older."""
        catalog = self._database.catalog
        return await self._catalog(reader, reading, ITEMS, catalog.upsert_items, catalog.item_times)

    async def users(self, reader: RowReader, reading: Reading) -> ImportSummary:
        """Take in a file of users, as `items`; the lists of the users are renewed."""

        async def upsert(users: Sequence[User]) -> int:
            written = await self._database.catalog.upsert_users(users)
            self._bumps.add({user.user_id for user in users})
            await self._bumps.flush()
            return written

        return await self._catalog(reader, reading, USERS, upsert, self._database.catalog.user_times)

    async def _catalog(
        self,
        reader: RowReader,
        reading: Reading,
        rows: CatalogRows[Entry],
        upsert: Callable[[Sequence[Entry]], Awaitable[int]],
        times: Callable[[Collection[str]], Awaitable[Mapping[str, datetime]]],
    ) -> ImportSummary:
        tally = ImportSummary(files={reader.name: reader.findings})
        async for decoded in ahead(decoded_entries(reader, rows, reading, self._conditions, CATALOG_BATCH_ROWS)):
            await self._note(tally, reader, decoded)
            entries = decoded.good
            written = await upsert(entries)
            older = 0
            if written < len(entries):
                stored = await times({_id(entry) for entry in entries})
                older = sum(entry.updated_at < stored.get(_id(entry), entry.updated_at) for entry in entries)
            tally.accepted += written
            tally.older += older
            tally.duplicates += len(entries) - written - older
        return tally


def _id(entry: Item | User) -> str:
    return entry.item_id if isinstance(entry, Item) else entry.user_id


class Rehearsal:
    """Reads files as an Importer would and writes nothing; `shown` are the first interactions, items or users."""

    SHOWN_ROWS = 10
    _ROWS = 10_000

    def __init__(self, rejects: Rejects, progress: FileProgress, conditions: Sequence[Condition] = ()) -> None:
        self.shown: list[Interaction | Item | User] = []
        self._rejects = rejects
        self._progress = progress
        self._conditions = conditions

    async def interactions(self, reader: RowReader, rows: InteractionRows) -> ImportSummary:
        """What would become of a file of interactions."""
        rows = replace(rows, undated=UndatedRows())
        tally = ImportSummary(files={reader.name: reader.findings})
        async for decoded in ahead(decoded_events(reader, rows, self._conditions, self._ROWS)):
            self._note(tally, reader, decoded)
        tally.undated = rows.undated.count
        return tally

    async def items(self, reader: RowReader, reading: Reading) -> ImportSummary:
        """What would become of a file of items."""
        return await self._catalog(reader, reading, ITEMS)

    async def users(self, reader: RowReader, reading: Reading) -> ImportSummary:
        """What would become of a file of users."""
        return await self._catalog(reader, reading, USERS)

    async def _catalog(self, reader: RowReader, reading: Reading, rows: CatalogRows[Entry]) -> ImportSummary:
        tally = ImportSummary(files={reader.name: reader.findings})
        async for decoded in ahead(decoded_entries(reader, rows, reading, self._conditions, self._ROWS)):
            self._note(tally, reader, decoded)
        return tally

    def _note(
        self, tally: ImportSummary, reader: RowReader, decoded: DecodedBatch[Interaction] | DecodedBatch[Entry]
    ) -> None:
        tally.read += decoded.read
        tally.left_out += decoded.left_out
        tally.accepted += len(decoded.good)
        tally.saw(decoded.columns, decoded.places)
        self._rejects.take(tally, reader.name, decoded.bad)
        self._progress(reader.name, reader.fraction())
        self.shown.extend(decoded.good[: max(self.SHOWN_ROWS - len(self.shown), 0)])


Taker = Importer | Rehearsal
"""What a command hands files to."""
