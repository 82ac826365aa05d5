"""What the import and export commands share: the files they open, the bar they show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.audit import trail_of
from app.commands.file_options import share_of
from app.commands.import_summary import end, preview, summarise
from app.commands.shared import Output, exit_on_error, prepare, progress, run
from app.domain.exceptions import InputError

if TYPE_CHECKING:  # loading the adapters is the work of the command, not of `encore --help`
    from app.application.transfer.columns import Condition
    from app.application.transfer.import_summary import ImportSummary
    from app.application.transfer.importing import Rehearsal, Taker
    from app.bootstrap import Container
    from app.domain.files import ReadOptions, RowReader, RowWriter
    from app.domain.import_store import ImportKind

CACHE_SILENT = "the cache did not answer: lists of these users may be old until they expire"

Tallies = Mapping[str, "ImportSummary"]

RejectsOption = Annotated[Path | None, typer.Option(help="Where rows go that are not taken (.csv or .jsonl).")]
MaxRejectsOption = Annotated[
    str, typer.Option(help="Exit 1 if more of the rows than this are refused, or none is taken.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Read everything, write nothing; show the first rows as they would be taken.")
]


@dataclass(frozen=True, slots=True)
class TransferContext:
    """What a command's work is given."""

    importer: Taker
    now: datetime


@dataclass(frozen=True, slots=True)
class Manner:
    """How an import is run, whatever it takes in."""

    rejects: Path | None = None
    max_rejects: str = "10%"
    dry_run: bool = False
    conditions: Callable[[], Sequence[Condition]] = tuple


def run_import(
    work: Callable[[TransferContext], Awaitable[Tallies]],
    manner: Manner,
    out: Output,
    kind: ImportKind,
    files: Sequence[Path],
) -> None:
    """Open everything, do the work, print the summary; exit 1 if too much was refused."""
    import_id = None
    with exit_on_error():
        most = share_of(manner.max_rejects)
    if manner.dry_run:
        rehearsal, tallies, seconds = _rehearse(work, manner)
        preview(rehearsal.shown, out)
    else:
        tallies, seconds, import_id = _take_in(work, manner, out, kind, [file.name for file in files])
    summarise(tallies, seconds, out, import_id)
    end(tallies, most)


def _take_in(
    work: Callable[[TransferContext], Awaitable[Tallies]],
    manner: Manner,
    out: Output,
    kind: ImportKind,
    names: Sequence[str],
) -> tuple[Tallies, float, str]:
    from app.application.invalidation.generation_bumps import PendingBumps
    from app.application.transfer.import_log import begin_import, end_import
    from app.application.transfer.import_summary import Rejects
    from app.application.transfer.importing import Importer
    from app.commands.serve import tune_collector

    async def inside(container: Container) -> tuple[Tallies, float, str]:
        tune_collector()  # rows come and go by the hundred thousand, and none of them is in a cycle
        started = time.perf_counter()
        writer = _rejects_writer(manner.rejects)
        bumps = PendingBumps(container.cache)
        imports = container.database.imports
        with progress("importing") as bar:
            try:
                conditions = manner.conditions()
                async with trail_of(container).change("import.start", kind.value):
                    import_id = await begin_import(imports, kind, names, container.clock())
                importer = Importer(container.database, bumps, Rejects(writer), bar.update, conditions, import_id)
                tallies = await work(TransferContext(importer, container.clock()))
            finally:  # what was rejected before an error or Ctrl-C is worth keeping
                if writer is not None:
                    writer.close()
        await end_import(imports, import_id, kind, tallies, container.clock())
        if not await bumps.flush():
            out.note(CACHE_SILENT)
        return tallies, time.perf_counter() - started, import_id

    return run(inside)


def _rehearse(
    work: Callable[[TransferContext], Awaitable[Tallies]], manner: Manner
) -> tuple[Rehearsal, Tallies, float]:
    from app.application.transfer.import_summary import Rejects
    from app.application.transfer.importing import Rehearsal

    with exit_on_error():
        prepare()
        started = time.perf_counter()
        writer = _rejects_writer(manner.rejects)
        with progress("reading") as bar:
            try:
                rehearsal = Rehearsal(Rejects(writer), bar.update, manner.conditions())
                tallies = asyncio.run(_awaited(work(TransferContext(rehearsal, datetime.now(UTC)))))
            finally:
                if writer is not None:
                    writer.close()
        return rehearsal, tallies, time.perf_counter() - started


async def _awaited(tallies: Awaitable[Tallies]) -> Tallies:
    return await tallies


def _rejects_writer(path: Path | None) -> RowWriter | None:
    from app.application.transfer.import_summary import REJECT_COLUMNS
    from app.infrastructure.files import open_writer

    return None if path is None else open_writer(path, REJECT_COLUMNS)


async def each_file(
    files: Sequence[Path], options: ReadOptions, take: Callable[[RowReader], Awaitable[ImportSummary]]
) -> ImportSummary:
    """One tally over several files."""
    from app.application.transfer.import_summary import ImportSummary
    from app.application.transfer.movielens import part_of
    from app.infrastructure.files import open_reader

    total = ImportSummary()
    for file in files:
        part = part_of(file.name)
        total.add(await take(open_reader(file, None if part is None else part.columns, options)))
    return total


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
