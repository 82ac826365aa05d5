"""CSV, tab-separated files with typed headers (RecBole's .inter, .item, .user) and GroupLens' `::`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.domain.exceptions import InputError
from app.domain.files import BrokenRow, RowBatch, RowReader, RowWriter
from app.infrastructure.files.streams import InputStream, OutputFile

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Format:
    """How lines become rows. `columns` names them where there is no header line."""

    split: Callable[[Iterator[str]], Iterator[Row]]
    columns: tuple[str, ...] | None = None


def _split_csv(lines: Iterator[str]) -> Iterator[Row]:
    return csv.reader(lines, strict=True)


def _split_tabs(lines: Iterator[str]) -> Iterator[Row]:
    return (line.rstrip("\r\n").split("\t") for line in lines)


def _split_colons(lines: Iterator[str]) -> Iterator[Row]:
    return (line.rstrip("\r\n").split("::") for line in lines)


CSV = Format(_split_csv)
INTER = Format(_split_tabs)


def dat_format(columns: Sequence[str]) -> Format:
    """`::` between the columns and no header, as in ML-1M."""
    if not columns:
        raise InputError("a .dat file has no header: import it with `import movielens`", "file")
    return Format(_split_colons, tuple(columns))


class _Counted:
    """Lines, counted as they are taken: a quoted field may go over several."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number += 1
            yield line


class DelimitedReader(RowReader):
    """RowReader on delimited text. A row of another length than the header is broken."""

    def __init__(self, path: Path, format_: Format) -> None:
        self.name = path.name
        self._path = path
        self._format = format_
        self._stream = InputStream(path)

    def fraction(self) -> float:
        return self._stream.fraction()

    def modified(self) -> float:
        return self._path.stat().st_mtime

    def batches(self, size: int) -> Iterator[RowBatch]:
        lines = _Counted(self._stream.lines())
        rows = self._format.split(iter(lines))
        columns = self._format.columns or self._header(rows)
        while True:
            batch = _take(rows, lines, columns, size)
            if not batch.lines and not batch.broken:
                return
            yield batch

    def _header(self, rows: Iterator[Row]) -> tuple[str, ...]:
        try:
            first = next(rows, None)
        except csv.Error as exc:
            raise InputError(f"{self.name}: the header line is not CSV", "file") from exc
        if not first:
            raise InputError(f"{self.name}: the file is empty", "file")
        # RecBole writes `name:type`; the names are enough, the values are read by what they are for.
        columns = tuple(name.strip().partition(":")[0] for name in first)
        if len(set(columns)) != len(columns):
            raise InputError(f"{self.name}: a column is named twice", "file")
        return columns


def _take(rows: Iterator[Row], lines: _Counted, columns: tuple[str, ...], size: int) -> RowBatch:
    """The next rows; empty lines are passed over."""
    width, good, numbers, broken = len(columns), list[Row](), list[int](), list[BrokenRow]()
    while len(good) + len(broken) < size:
        number = lines.number + 1
        try:
            row = next(rows, None)
        except csv.Error:
            broken.append(BrokenRow(number, "not CSV", ""))
            continue
        if row is None:
            break
        if len(row) == width:
            good.append(row)
            numbers.append(number)
        elif row and row != [""]:
            broken.append(BrokenRow(number, f"{len(row)} columns instead of {width}", ",".join(row)))
    return RowBatch(columns, good, numbers, broken)


class CsvWriter(RowWriter):
    """RowWriter on CSV with a header. Lists and mappings are written as JSON, moments as RFC 3339, None as nothing."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._file = OutputFile(path)
        self._text = io.TextIOWrapper(self._file.open(), encoding="utf-8", newline="", write_through=False)
        self._writer = csv.writer(self._text)  # RFC 4180: lines end with CR LF, which also makes it quote a CR
        self._writer.writerow(columns)

    def write(self, rows: Sequence[Sequence[object]]) -> None:
        self._writer.writerows([cell(value) for value in row] for row in rows)

    def close(self) -> None:
        self._text.detach()  # flushes, and leaves the closing to the file
        self._file.keep()

    def drop(self) -> None:
        with suppress(OSError, ValueError):  # a full disk is why we are here, or it is closed already
            self._text.detach()
        self._file.drop()


def cell(value: object) -> object:
    """A value as CSV holds it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float) or value is None:
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
