"""What the import and export commands share: the files they open, the bar they show, the summary they print."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.shared import Output, progress, run
from app.domain.exceptions import InputError

if TYPE_CHECKING:  # loading the adapters is the work of the command, not of `encore --help`
    from app.application.transfer.catalog_file_rows import Reading
    from app.application.transfer.importing import Importer, ImportSummary
    from app.bootstrap import Container
    from app.domain.files import RowReader, RowWriter

Tallies = Mapping[str, "ImportSummary"]
_SHOWN_REASONS = 5


@dataclass(frozen=True, slots=True)
class TransferContext:
    """What a command's work is given."""

    importer: Importer
    now: datetime


def run_import(work: Callable[[TransferContext], Awaitable[Tallies]], rejects: Path | None, out: Output) -> None:
    """Open everything, do the work, print the summary."""
    from app.application.invalidation.generation_bumps import PendingBumps
    from app.application.transfer.importing import REJECT_COLUMNS, Importer, Rejects
    from app.commands.serve import tune_collector
    from app.infrastructure.files import open_writer

    async def inside(container: Container) -> tuple[Tallies, float]:
        tune_collector()  # rows come and go by the hundred thousand, and none of them is in a cycle
        started = time.perf_counter()
        writer = None if rejects is None else open_writer(rejects, REJECT_COLUMNS)
        bumps = PendingBumps(container.cache)
        with progress("importing") as bar:
            try:
                importer = Importer(container.database, bumps, Rejects(writer), bar.update)
                tallies = await work(TransferContext(importer, container.clock()))
            finally:  # what was rejected before an error or Ctrl-C is worth keeping
                if writer is not None:
                    writer.close()
        if not await bumps.flush():
            out.note("the cache did not answer: lists of these users may be old until they expire")
        return tallies, time.perf_counter() - started

    tallies, seconds = run(inside)
    summarise(tallies, seconds, out)


def summarise(tallies: Tallies, seconds: float, out: Output) -> None:
    """Rows read, accepted, duplicates, rejected; seconds and rows a second over all."""
    read = sum(tally.read for tally in tallies.values())
    data: dict[str, object] = {
        name: {
            "read": tally.read,
            "accepted": tally.accepted,
            "duplicates": tally.duplicates,
            "rejected": tally.rejected,
            "reasons": dict(tally.reasons.most_common()),
        }
        for name, tally in tallies.items()
    }
    rate = read / seconds if seconds else 0.0
    data |= {"seconds": round(seconds, 3), "rows_per_second": round(rate)}
    columns = ("", "read", "accepted", "duplicates", "rejected")
    rows = [(name, t.read, t.accepted, t.duplicates, t.rejected) for name, t in tallies.items()]
    out.table(data, columns, [tuple(f"{c:,}" if isinstance(c, int) else c for c in row) for row in rows])
    for name, tally in tallies.items():
        for reason, count in tally.reasons.most_common(_SHOWN_REASONS):
            out.note(f"{name}: {count:,} rejected: {reason}")
    out.note(f"{read:,} rows in {seconds:.1f} s ({rate:,.0f} rows/s)")


async def each_file(files: Sequence[Path], take: Callable[[RowReader], Awaitable[ImportSummary]]) -> ImportSummary:
    """One tally over several files."""
    from app.application.transfer.importing import ImportSummary
    from app.infrastructure.files import open_reader

    total = ImportSummary()
    for file in files:
        total.add(await take(open_reader(file)))
    return total


def reading(reader: RowReader, mapping: Mapping[str, str], now: datetime) -> Reading:
    """How rows of a catalog file are read."""
    from app.application.transfer.catalog_file_rows import Reading

    return Reading(now, datetime.fromtimestamp(reader.modified(), UTC), mapping)


def mapping_of(text: str, fields: Sequence[str]) -> Mapping[str, str]:
    """`field=column,…` as a mapping. Raises InputError for a field that there is not."""
    mapping: dict[str, str] = {}
    for pair in filter(None, text.split(",")):
        name, sign, column = pair.partition("=")
        if not sign or name.strip() not in fields:
            raise InputError(f"--map takes field=column pairs; the fields are {', '.join(fields)}")
        mapping[name.strip()] = column.strip()
    return mapping


def run_export(file: Path, what: str, out: Output) -> None:
    """Write a whole table to a file and say how many rows it has."""
    from app.application.transfer import catalog_file_rows, exporting, interaction_file_rows
    from app.infrastructure.files import open_writer

    columns, rows_of = {
        "interactions": (interaction_file_rows.COLUMNS, exporting.interaction_rows),
        "items": (catalog_file_rows.ITEM_COLUMNS, exporting.item_rows),
        "users": (catalog_file_rows.USER_COLUMNS, exporting.user_rows),
    }[what]

    async def inside(container: Container) -> int:
        writer: RowWriter = open_writer(file, columns)
        with progress(f"exporting {what}", total=None) as bar:
            return await exporting.export(rows_of(container.database), writer, lambda done: bar.advance_to(done, None))

    started = time.perf_counter()
    count = run(inside)
    seconds = time.perf_counter() - started
    out.result({"rows": count, "seconds": round(seconds, 3)}, f"{count:,} {what} in {seconds:.1f} s: {file}")


def names_in(folder: Path) -> Sequence[str]:
    """The names of the files in a folder. Raises InputError if it is none."""
    with suppress(OSError):
        return [entry.name for entry in folder.iterdir() if entry.is_file()]
    raise InputError("this is not a folder that can be read", "folder")
