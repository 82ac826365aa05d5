"""Delimited text in: CSV and its relatives, GroupLens' `::`, RecBole's typed headers."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from app.domain.exceptions import InputError
from app.domain.files import BrokenRow, Findings, ReadOptions, RowBatch, RowReader
from app.infrastructure.files.layouts import NAMES, SAMPLE_LINES, Layout, header_of, layout_of
from app.infrastructure.files.records import Records
from app.infrastructure.files.streams import MAX_LINE_BYTES, InputStream


class DelimitedReader(RowReader):
    """RowReader on delimited text. A row of another length than the header is broken.

    `suffix` says which separator is the likely one; `usual` names the columns if there turns out to be no header.
    """

    def __init__(self, path: Path, suffix: str, options: ReadOptions, usual: Sequence[str] | None = None) -> None:
        self.name = path.name
        self.findings = Findings("delimited text")
        self._path = path
        self._suffix = suffix
        self._options = options
        self._usual = usual
        self._stream = InputStream(path, options.encoding)

    def fraction(self) -> float:
        return self._stream.fraction()

    def modified(self) -> float:
        return self._path.stat().st_mtime

    def batches(self, size: int) -> Iterator[RowBatch]:
        lines = self._stream.lines()
        head = list(islice(lines, SAMPLE_LINES))
        layout = self._layout(head)
        spaced = layout.has_spaces
        records = Records(chain(head[layout.skip :], lines), layout.delimiter, has_spaces=spaced, skipped=layout.skip)
        columns = layout.columns or self._header(records)
        self._found(layout)
        while (block := records.take(size, len(columns))) is not None:
            rows, numbers, broken = block
            yield RowBatch(columns, rows, numbers, [*broken, *self._too_long()])
        self._noted()

    def _layout(self, head: Sequence[str]) -> Layout:
        if 1 in self._stream.too_long:
            raise InputError(
                f"{self.name}: the first lines are longer than {MAX_LINE_BYTES:,} bytes: is this text?", "file"
            )
        try:
            return layout_of(head, self._suffix, self._options, self._usual)
        except InputError as exc:
            raise InputError(f"{self.name}: {exc}", "file") from exc

    def _header(self, records: Records) -> tuple[str, ...]:
        try:
            return header_of(records.header() or (), self._suffix)
        except csv.Error as exc:
            raise InputError(f"{self.name}: the header line is not CSV", "file") from exc
        except InputError as exc:
            raise InputError(f"{self.name}: {exc}", "file") from exc

    def _too_long(self) -> Sequence[BrokenRow]:
        found = [BrokenRow(line, f"longer than {MAX_LINE_BYTES:,} bytes", "") for line in self._stream.too_long]
        self._stream.too_long.clear()
        return found

    def _found(self, layout: Layout) -> None:
        self.findings.separator = NAMES.get(layout.delimiter, layout.delimiter)
        self.findings.encoding = self._stream.encoding.name
        self.findings.line_end = self._stream.line_end
        self.findings.header = layout.columns is None
        if layout.has_spaces:
            self.findings.notes.append("spaces after the separator are not part of the values")

    def _noted(self) -> None:
        self.findings.notes.extend(fallback_notes(self._stream))


def fallback_notes(stream: InputStream) -> Sequence[str]:
    """What to tell about lines that were not in the encoding that was taken for granted."""
    count = stream.decoder.fallbacks
    if not count:
        return ()
    return (
        f"{count:,} lines are not UTF-8 and were read as cp1252; if letters are wrong, --encoding names the right one",
    )
