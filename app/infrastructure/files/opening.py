"""A path in, a reader or writer out: the suffix names the format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.domain.exceptions import InputError
from app.domain.files import RowReader, RowWriter
from app.infrastructure.files.delimited import CSV, INTER, CsvWriter, DelimitedReader, dat_format
from app.infrastructure.files.jsonl import JsonlReader, JsonlWriter
from app.infrastructure.files.streams import COMPRESSIONS

FORMATS = ".csv, .jsonl, .ndjson or .parquet, the first three also with .gz or .zst"


def open_reader(path: Path, columns: Sequence[str] | None = None) -> RowReader:
    """A reader for a file. `columns` names those of a format without a header (`.dat`).

    Raises InputError for a suffix nobody knows; a missing file shows when it is read.
    """
    match suffix(path):
        case ".csv":
            return DelimitedReader(path, CSV)
        case ".inter" | ".item" | ".user" | ".tsv":
            return DelimitedReader(path, INTER)
        case ".dat":
            return DelimitedReader(path, dat_format(columns or ()))
        case ".jsonl" | ".ndjson":
            return JsonlReader(path)
        case ".parquet":
            from app.infrastructure.files.parquet import ParquetReader

            return ParquetReader(path)
        case _:
            raise InputError(f"the file name must end in {FORMATS}", "file")


def open_writer(path: Path, columns: Sequence[str]) -> RowWriter:
    """A writer for rows of these columns. Raises InputError for a suffix nobody knows."""
    match suffix(path):
        case ".csv":
            return CsvWriter(path, columns)
        case ".jsonl" | ".ndjson":
            return JsonlWriter(path, columns)
        case ".parquet":
            from app.infrastructure.files.parquet import ParquetWriter

            return ParquetWriter(path, columns)
        case _:
            raise InputError(f"the file name must end in {FORMATS}", "file")


def suffix(path: Path) -> str:
    """The suffix that names the format, without that of a compression."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return inner.suffix.lower()
