"""`encore import --undo IMPORT_ID`, `encore import list`: what was imported, and taking it back."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.audit import trail_of
from app.commands.shared import JsonFlag, output, progress, run
from app.commands.transfers import CACHE_SILENT

if TYPE_CHECKING:  # loading the adapters is the work of the command, not of `encore --help`
    from collections.abc import Sequence

    from app.bootstrap import Container
    from app.domain.import_store import ImportRecord

_MOST_FILES = 3


def undo(
    context: typer.Context,
    import_id: Annotated[
        str | None,
        typer.Option(
            "--undo",
            metavar="IMPORT_ID",
            help="Remove the interactions that this import added, as if it had never been (ids: encore import list).",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Take in interactions, items or users from files; --undo takes an import back."""
    if context.invoked_subcommand is not None:
        if import_id is not None:
            raise typer.BadParameter("stands alone: encore import --undo IMPORT_ID", param_hint="--undo")
        return
    if import_id is None:
        raise typer.BadParameter("say what to import (encore import --help), or --undo IMPORT_ID")
    _undo(import_id, as_json=as_json)


def _undo(import_id: str, *, as_json: bool) -> None:
    out = output(as_json)
    started = time.perf_counter()

    async def work(container: Container) -> tuple[ImportRecord, int]:
        from app.application.invalidation.generation_bumps import PendingBumps
        from app.application.transfer.import_log import undo_import

        bumps = PendingBumps(container.cache)
        with progress("undoing", total=None) as bar:
            async with trail_of(container).act("import.undo", import_id) as act:
                found = await undo_import(
                    container.database.imports, bumps, import_id, container.clock(), lambda n, of: bar.advance_to(n, of)
                )
                act.after = {"kind": found[0].kind, "removed": found[1]}
        if not await bumps.flush():
            out.note(CACHE_SILENT)
        return found

    record, removed = run(work)
    seconds = time.perf_counter() - started
    data = {"import_id": record.import_id, "kind": record.kind, "removed": removed, "seconds": round(seconds, 3)}
    out.result(data, f"{removed:,} interactions of import {record.import_id} removed in {seconds:.1f} s")
    if record.kind == "movielens":
        out.note("items and users of the folder stay: earlier versions of them are not kept")


def list_imports(
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 20,
    as_json: JsonFlag = False,
) -> None:
    """The newest imports: id, kind, state, rows, when, first and last sequence, files."""

    async def work(container: Container) -> Sequence[ImportRecord]:
        return await container.database.imports.list(limit)

    found = run(work)
    columns = ("import", "kind", "state", "rows", "started", "sequences", "files")
    output(as_json).table({"imports": [asdict(one) for one in found]}, columns, [_line(one) for one in found])


def _line(record: ImportRecord) -> Sequence[object]:
    files = ", ".join(record.files[:_MOST_FILES]) + (", …" if len(record.files) > _MOST_FILES else "")
    sequences = "" if record.first_sequence is None else f"{record.first_sequence}–{record.last_sequence}"
    started = f"{record.started_at:%Y-%m-%d %H:%M}"
    return (record.import_id, record.kind, record.state, f"{record.rows:,}", started, sequences, files)
