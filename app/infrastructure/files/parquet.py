"""Parquet, by pyarrow, one row group in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from app.domain.exceptions import InputError
from app.domain.files import Findings, RowBatch, RowReader, RowWriter, Unreadable
from app.infrastructure.files.streams import OutputFile

try:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from app.infrastructure.files.parquet_values import values_of
except ModuleNotFoundError as exc:
    raise InputError("Parquet needs the extra `files`", "file") from exc

_TYPES: Mapping[str, pa.DataType] = {
    "value": pa.float64(),
    "duration": pa.float64(),
    "year": pa.int64(),
    "available": pa.bool_(),
    **dict.fromkeys(("genres", "tags"), pa.list_(pa.string())),
    **dict.fromkeys(
        ("timestamp", "updated_at", "published_at", "available_from", "available_until"), pa.timestamp("us", "UTC")
    ),
}
"""The type of each column that Encore writes; the others are text."""


class ParquetReader(RowReader):
    """RowReader on Parquet; the "line" is the number of the row."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.findings = Findings("Parquet", header=False)
        self._path = path
        self._read = 0
        self._rows = 0

    def fraction(self) -> float:
        return self._read / self._rows if self._rows else 0.0

    def modified(self) -> float:
        return self._path.stat().st_mtime

    def batches(self, size: int) -> Iterator[RowBatch]:
        try:
            with pq.ParquetFile(self._path, memory_map=True) as file:
                self._rows = file.metadata.num_rows
                self._check_names(file.schema_arrow.names)
                for batch in file.iter_batches(batch_size=size, use_threads=False):
                    first = self._read + 1
                    self._read += batch.num_rows
                    columns = [self._values(name, batch.column(name)) for name in batch.schema.names]
                    rows = list(zip(*columns, strict=True))
                    yield RowBatch(tuple(batch.schema.names), rows, range(first, self._read + 1))
        except (pa.ArrowException, OverflowError, OSError) as exc:
            if isinstance(exc, FileNotFoundError | PermissionError | IsADirectoryError):
                raise
            raise InputError(f"{self.name}: not a Parquet file, or one that is damaged", "file") from exc

    def _values(self, name: str, column: pa.Array) -> Sequence[object]:
        """The values of a column; bytes that are no text are left out, and a note says so."""
        values = values_of(column)
        if not pa.types.is_binary(column.type) or not any(isinstance(value, Unreadable) for value in values):
            return values
        note = f"column {name}: bytes that are not UTF-8 were left out"
        if note not in self.findings.notes:
            self.findings.notes.append(note)
        return [None if isinstance(value, Unreadable) else value for value in values]

    def _check_names(self, names: Sequence[str]) -> None:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"{self.name}: a column is named twice: {', '.join(twice)[:200]}", "file")


class ParquetWriter(RowWriter):
    """RowWriter on Parquet."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._schema = pa.schema([(name, _TYPES.get(name, pa.string())) for name in columns])
        self._file = OutputFile(path)
        self._writer = pq.ParquetWriter(self._file.temporary, self._schema)

    def write(self, rows: Sequence[Sequence[object]]) -> None:
        columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in self._schema]
        arrays = [
            pa.array([_value(value) for value in column], type=kind)
            for column, kind in zip(columns, self._schema.types, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
        self._file.keep()

    def drop(self) -> None:
        self._writer.close()
        self._file.drop()


def _value(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else value
