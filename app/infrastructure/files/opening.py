"""A path in, a reader or writer out: the suffix names the format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.domain.exceptions import InputError
from app.domain.files import ReadOptions, RowReader, RowWriter
from app.infrastructure.files.csv_writer import CsvWriter
from app.infrastructure.files.delimited import DelimitedReader
from app.infrastructure.files.json_rows import JsonReader
from app.infrastructure.files.jsonl_writer import JsonlWriter
from app.infrastructure.files.streams import COMPRESSIONS

FORMATS = ".csv, .jsonl, .ndjson or .parquet, the first three also with .gz or .zst"
READABLE = f"{FORMATS}; .tsv, .txt, .dat, .data, .inter, .item, .user and .json are read, too"
_RECOGNISED = ReadOptions()


def open_reader(path: Path, columns: Sequence[str] | None = None, options: ReadOptions = _RECOGNISED) -> RowReader:
    """A reader for a file. `columns` names those of a delimited file that turns out to have no header.

    Raises InputError for a suffix nobody knows; a missing file shows when it is read.
    """
    match suffix(path):
        case ".csv" | ".tsv" | ".txt" | ".dat" | ".data" | ".inter" | ".item" | ".user":
            return DelimitedReader(path, suffix(path), options, columns)
        case ".jsonl" | ".ndjson" | ".json":
            return JsonReader(path, options)
        case ".parquet":
            from app.infrastructure.files.parquet import ParquetReader

            return ParquetReader(path)
        case _:
            raise InputError(f"the file name must end in {READABLE}", "file")


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
