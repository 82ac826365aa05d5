"""JSON lines out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.domain.files import RowWriter
from app.infrastructure.files.streams import OutputFile


class JsonlWriter(RowWriter):
    """RowWriter on JSON lines; what is None is left out."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._file = OutputFile(path)
        self._stream = self._file.open()
        self._columns = tuple(columns)

    def write(self, rows: Sequence[Sequence[object]]) -> None:
        encode = msgspec.json.Encoder().encode
        for row in rows:
            pairs = zip(self._columns, row, strict=True)
            self._stream.write(encode({name: value for name, value in pairs if value is not None}) + b"\n")

    def close(self) -> None:
        self._file.keep()

    def drop(self) -> None:
        self._file.drop()
