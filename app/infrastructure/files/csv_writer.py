"""CSV out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from app.domain.files import RowWriter
from app.infrastructure.files.streams import OutputFile


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
