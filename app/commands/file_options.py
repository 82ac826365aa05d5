"""The options of `encore import` that say how a file is to be read, and what they are turned into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from app.domain.entities import Kind
from app.domain.exceptions import InputError

if TYPE_CHECKING:  # loading the adapters is the work of the command, not of `encore --help`
    from app.application.transfer.catalog_file_rows import Reading
    from app.application.transfer.columns import Condition
    from app.application.transfer.row_values import Times
    from app.domain.files import ReadOptions, RowReader


class Unit(StrEnum):
    """What a whole number for a time counts."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


Files = Annotated[
    list[Path],
    typer.Argument(help="CSV, TSV, JSON (lines or an array), Parquet, .dat, .txt …, by suffix; .gz and .zst too."),
]
MapOption = Annotated[
    str, typer.Option("--map", help="Columns by field: user_id=userId,item_id=movieId. value= leaves a field out.")
]
DelimiterOption = Annotated[
    str | None, typer.Option(help="What separates columns: a character, ::, tab, … Recognised if not given.")
]
EncodingOption = Annotated[
    str | None, typer.Option(help="utf-8, utf-16, cp1252, cp1251 … UTF-8 and UTF-16 are recognised; else cp1252.")
]
NoHeaderOption = Annotated[bool, typer.Option("--no-header", help="The first line is a row: columns are 1, 2, 3 …")]
ColumnsOption = Annotated[
    str | None, typer.Option("--columns", help="Names of the columns of a file without a header: user_id,item_id,…")
]
ListSeparatorOption = Annotated[
    str | None,
    typer.Option(help="What separates genres and tags in a cell. If not given: | if there is one, else a comma."),
]
TimeUnitOption = Annotated[Unit, typer.Option(help="What numbers for times count since 1970.")]
TimeZoneOption = Annotated[
    str | None, typer.Option(help="Zone of times that name none: UTC, Europe/Berlin … Without it they are refused.")
]
WhereOption = Annotated[
    list[str] | None, typer.Option(help="Only rows with column=value, or column!=value; repeatable.")
]


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The options as they were typed."""

    mapping: str = ""
    delimiter: str | None = None
    encoding: str | None = None
    no_header: bool = False
    columns: str | None = None
    list_separator: str | None = None
    time_unit: Unit = Unit.SECONDS
    time_zone: str | None = None
    where: Sequence[str] = ()

    def read_options(self) -> ReadOptions:
        """How the file is taken apart. Raises InputError, as all of these do."""
        from app.domain.files import ReadOptions
        from app.infrastructure.files import delimiter_of, known_encoding

        columns = None if self.columns is None else tuple(name.strip() for name in self.columns.split(","))
        if columns is not None and (not all(columns) or len(set(columns)) < len(columns)):
            raise InputError("--columns takes names, each once, separated by commas")
        return ReadOptions(
            None if self.delimiter is None else delimiter_of(self.delimiter),
            None if self.encoding is None else known_encoding(self.encoding),
            columns,
            self.no_header,
        )

    def mapping_of(self, fields: Sequence[str], usual: Sequence[str]) -> Mapping[str, str]:
        """The column of each field: by --map; without one and without names, columns are in their usual order."""
        if self.no_header and self.columns is None and not self.mapping:
            return {name: str(place) for place, name in enumerate(usual, start=1)}
        return mapping_of(self.mapping, fields)

    def times(self) -> Times:
        """How times are written."""
        from app.application.transfer.row_values import Times

        return Times(self.time_unit.value, None if self.time_zone is None else zone_of(self.time_zone))

    def conditions(self) -> Sequence[Condition]:
        """Which rows are wanted."""
        from app.application.transfer.columns import condition_of

        return [condition_of(text) for text in self.where]

    def separator(self) -> str | None:
        """What separates the entries of a list."""
        if self.list_separator == "":
            raise InputError("--list-separator is at least one character")
        return (
            None
            if self.list_separator is None
            else {"tab": "\t", "space": " "}.get(self.list_separator, self.list_separator)
        )

    def reading(self, reader: RowReader, mapping: Mapping[str, str], now: datetime) -> Reading:
        """How rows of a catalog file are read; GroupLens files by what is known of them."""
        from app.application.transfer.catalog_file_rows import Reading
        from app.application.transfer.movielens import part_of

        changed = datetime.fromtimestamp(reader.modified(), UTC)
        part = part_of(reader.name)
        if part is None:
            return Reading(now, changed, mapping, self.separator(), times=self.times())
        return Reading(now, changed, mapping, self.separator(), True, self.times(), part.flags)


def zone_of(name: str) -> tzinfo:
    """A time zone by its name. Raises InputError for one that nobody knows."""
    if name.upper() in {"UTC", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise InputError("--time-zone: nobody knows this zone; examples: UTC, Europe/Berlin, America/New_York") from exc


def mapping_of(text: str, fields: Sequence[str]) -> Mapping[str, str]:
    """`field=column,…` as a mapping; an empty column leaves the field out. Raises InputError for other fields."""
    mapping: dict[str, str] = {}
    for pair in filter(None, text.split(",")):
        name, sign, column = pair.partition("=")
        if not sign or name.strip() not in fields:
            raise InputError(f"--map takes field=column pairs; the fields are {', '.join(fields)}")
        if name.strip() in mapping:
            raise InputError(f"--map names {name.strip()} twice")
        mapping[name.strip()] = column.strip()
    return mapping


def kinds_of(text: str) -> Mapping[str, Kind]:
    """`addtocart=watchlist,…` as kinds by the file's words in lower case. Raises InputError for kinds there are not."""
    kinds: dict[str, Kind] = {}
    for pair in filter(None, text.split(",")):
        word, sign, kind = pair.partition("=")
        if not sign or not word.strip() or kind.strip().lower() not in set(Kind):
            raise InputError(f"--map-kind takes word=kind pairs; the kinds are {', '.join(Kind)}")
        kinds[word.strip().lower()] = Kind(kind.strip().lower())
    return kinds


def share_of(text: str) -> float:
    """`10%` or `10` as 0.1. Raises InputError for anything that is not between 0 and 100 percent."""
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InputError("--max-rejects takes a percentage from 0% to 100%")
    return share
