"""JSON lines: one object a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from app.domain.files import BrokenRow, RowBatch, RowReader, RowWriter
from app.infrastructure.files.streams import InputStream, OutputFile


class JsonlReader(RowReader):
    """RowReader on JSON lines. The columns of a batch are the keys that its objects have."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._stream = InputStream(path)

    def fraction(self) -> float:
        return self._stream.fraction()

    def modified(self) -> float:
        return self._path.stat().st_mtime

    def batches(self, size: int) -> Iterator[RowBatch]:
        lines = enumerate(self._stream.lines(), start=1)
        while chunk := list(islice(lines, size)):
            yield _batch(chunk)


def _batch(chunk: Sequence[tuple[int, str]]) -> RowBatch:
    objects, numbers, broken = list[dict[str, object]](), list[int](), list[BrokenRow]()
    decode = msgspec.json.Decoder().decode
    for number, line in chunk:
        if not line.strip():
            continue
        try:
            found = decode(line)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            broken.append(BrokenRow(number, "not JSON", line))
            continue
        if isinstance(found, dict):
            objects.append(found)
            numbers.append(number)
        else:
            broken.append(BrokenRow(number, "not a JSON object", line))
    columns = tuple(dict.fromkeys(name for one in objects for name in one))
    return RowBatch(columns, [[one.get(name) for name in columns] for one in objects], numbers, broken)


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
