"""`encore migrate`, `encore import …`, `encore export …`: the schema, and files in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.file_options import (
    ColumnsOption,
    DelimiterOption,
    EncodingOption,
    FileOptions,
    Files,
    ListSeparatorOption,
    MapOption,
    NoHeaderOption,
    TimeUnitOption,
    TimeZoneOption,
    Unit,
    WhereOption,
    kinds_of,
)
from app.commands.import_undo import list_imports, undo
from app.commands.shared import JsonFlag, exit_on_error, output, prepare
from app.commands.transfers import (
    DryRunOption,
    Manner,
    MaxRejectsOption,
    RejectsOption,
    Tallies,
    TransferContext,
    each_file,
    names_in,
    run_export,
    run_import,
)
from app.domain.entities import Kind
from app.domain.exceptions import InputError
from app.domain.import_store import ImportKind

if TYPE_CHECKING:  # loading the adapters is the work of the command, not of `encore --help`
    from app.application.transfer.movielens import Part
    from app.domain.files import RowReader

OutFile = Annotated[Path, typer.Argument(help="CSV, JSONL or Parquet, by suffix; .gz and .zst too.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("migrate")(migrate)
    imports = typer.Typer(
        no_args_is_help=True,
        invoke_without_command=True,
        callback=undo,
        help="Take in interactions, items or users from files; --undo takes an import back.",
    )
    imports.command("movielens")(import_movielens)
    imports.command("interactions")(import_interactions)
    imports.command("items")(import_items)
    imports.command("users")(import_users)
    imports.command("list")(list_imports)
    app.add_typer(imports, name="import")
    exports = typer.Typer(no_args_is_help=True, help="Write interactions, items or users to a file.")
    exports.command("interactions")(export_interactions)
    exports.command("items")(export_items)
    exports.command("users")(export_users)
    app.add_typer(exports, name="export")


def migrate(as_json: JsonFlag = False) -> None:
    """Bring the database schema up to date. Safe to repeat, and to run by several processes at once."""
    with exit_on_error():
        settings = prepare()
        from app.infrastructure.database.migrate import migrate as upgrade
        from app.infrastructure.database.migrate import newest_revision

        upgrade(settings.database_url)
        revision = newest_revision()
        output(as_json).result({"revision": revision}, f"the schema is at revision {revision}")


def import_movielens(
    folder: Annotated[
        Path, typer.Argument(help="A GroupLens folder (CSV, :: or ML-100k) or one with .inter, .item, .user.")
    ],
    rejects: RejectsOption = None,
    max_rejects: MaxRejectsOption = "10%",
    dry_run: DryRunOption = False,
    as_json: JsonFlag = False,
) -> None:
    """Take in a folder of ratings: its items, its users, its ratings."""

    async def work(job: TransferContext) -> Tallies:
        from app.application.transfer.movielens import import_folder, layout_of
        from app.infrastructure.files import open_reader

        names = names_in(folder)
        layout = layout_of(names)
        if layout is None:
            raise InputError("no movies.csv, movies.dat, u.data and not exactly one .inter file lies in this folder")

        def open_part(part: Part) -> RowReader | None:
            return open_reader(folder / part.file, part.columns) if part.file in names else None

        return await import_folder(job.importer, layout, open_part, job.now)

    run_import(work, Manner(rejects, max_rejects, dry_run), output(as_json), ImportKind.MOVIELENS, [folder])


def import_interactions(
    files: Files,
    mapping: MapOption = "",
    kind: Annotated[Kind | None, typer.Option(help="The kind of rows that name none.")] = None,
    map_kind: Annotated[
        str, typer.Option(help="What the file's words for kinds mean: addtocart=watchlist,transaction=purchase.")
    ] = "",
    scale: Annotated[
        str | None, typer.Option(help="The lowest and highest rating, 1..10: they become 0.5 and 5.")
    ] = None,
    time_unit: TimeUnitOption = Unit.SECONDS,
    time_zone: TimeZoneOption = None,
    where: WhereOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    no_header: NoHeaderOption = False,
    columns: ColumnsOption = None,
    rejects: RejectsOption = None,
    max_rejects: MaxRejectsOption = "10%",
    dry_run: DryRunOption = False,
    as_json: JsonFlag = False,
) -> None:
    """Take in interactions: user_id, item_id and, if there, kind, value, timestamp, duration, device, event_id.

    Without --kind a row that names none is a rating if it has a value, else a view. A row without a timestamp happened
    on 2000-01-01 plus one millisecond per row above it, so that the order of the file is kept.
    """
    given = FileOptions(
        mapping, delimiter, encoding, no_header, columns, None, time_unit, time_zone, tuple(where or ())
    )

    async def work(job: TransferContext) -> Tallies:
        from app.application.transfer.interaction_file_rows import COLUMNS, USUAL_COLUMNS, InteractionRows
        from app.application.transfer.scales import scale_of

        rows = InteractionRows(
            job.now,
            given.mapping_of(COLUMNS, USUAL_COLUMNS),
            kind,
            given.times(),
            None if scale is None else scale_of(scale),
            kinds_of(map_kind),
        )
        take = each_file(files, given.read_options(), lambda reader: job.importer.interactions(reader, rows))
        return {"interactions": await take}

    run_import(
        work, Manner(rejects, max_rejects, dry_run, given.conditions), output(as_json), ImportKind.INTERACTIONS, files
    )


def import_items(
    files: Files,
    mapping: MapOption = "",
    list_separator: ListSeparatorOption = None,
    time_unit: TimeUnitOption = Unit.SECONDS,
    time_zone: TimeZoneOption = None,
    where: WhereOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    no_header: NoHeaderOption = False,
    columns: ColumnsOption = None,
    rejects: RejectsOption = None,
    max_rejects: MaxRejectsOption = "10%",
    dry_run: DryRunOption = False,
    as_json: JsonFlag = False,
) -> None:
    """Take in items: item_id and, if there, title, description, genres, tags, year, …; other columns are attributes.

    A row without updated_at was changed when its file was; the newest wins.
    """
    given = FileOptions(
        mapping, delimiter, encoding, no_header, columns, list_separator, time_unit, time_zone, tuple(where or ())
    )

    async def work(job: TransferContext) -> Tallies:
        from app.application.transfer.catalog_file_rows import ITEM_COLUMNS

        fields = given.mapping_of(ITEM_COLUMNS, ("item_id", "title", "genres"))
        take = each_file(
            files, given.read_options(), lambda r: job.importer.items(r, given.reading(r, fields, job.now))
        )
        return {"items": await take}

    run_import(work, Manner(rejects, max_rejects, dry_run, given.conditions), output(as_json), ImportKind.ITEMS, files)


def import_users(
    files: Files,
    mapping: MapOption = "",
    time_unit: TimeUnitOption = Unit.SECONDS,
    time_zone: TimeZoneOption = None,
    where: WhereOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    no_header: NoHeaderOption = False,
    columns: ColumnsOption = None,
    rejects: RejectsOption = None,
    max_rejects: MaxRejectsOption = "10%",
    dry_run: DryRunOption = False,
    as_json: JsonFlag = False,
) -> None:
    """Take in users: user_id; other columns are attributes. A row without updated_at was changed when its file was."""
    given = FileOptions(
        mapping, delimiter, encoding, no_header, columns, None, time_unit, time_zone, tuple(where or ())
    )

    async def work(job: TransferContext) -> Tallies:
        from app.application.transfer.catalog_file_rows import USER_COLUMNS

        fields = given.mapping_of(USER_COLUMNS, ("user_id",))
        take = each_file(
            files, given.read_options(), lambda r: job.importer.users(r, given.reading(r, fields, job.now))
        )
        return {"users": await take}

    run_import(work, Manner(rejects, max_rejects, dry_run, given.conditions), output(as_json), ImportKind.USERS, files)


def export_interactions(file: OutFile, as_json: JsonFlag = False) -> None:
    """Write every interaction, in the order it was taken in."""
    run_export(file, "interactions", output(as_json))


def export_items(file: OutFile, as_json: JsonFlag = False) -> None:
    """Write every item of the catalog."""
    run_export(file, "items", output(as_json))


def export_users(file: OutFile, as_json: JsonFlag = False) -> None:
    """Write every user."""
    run_export(file, "users", output(as_json))
