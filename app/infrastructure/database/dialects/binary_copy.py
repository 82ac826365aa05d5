"""PostgreSQL's binary COPY format → NumPy, without a Python object per row.

https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT. Every column of our query has a fixed
width and no NULLs, so every row has the same bytes in the same places.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from app.infrastructure.database.dialects.base import RAW_COLUMNS

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER_BYTES = len(_SIGNATURE) + 8  # flags and the length of an extension, which nobody uses
_WIRE = {"user_key": ">i8", "item_key": ">i8", "kind": ">i2", "value": ">f8", "duration": ">f8", "micros": ">i8"}
_ROW = np.dtype(
    [("fields", ">i2")]
    + [part for name in RAW_COLUMNS.names or () for part in ((f"{name}_bytes", ">i4"), (name, _WIRE.get(name, "S16")))]
)
_EPOCH_2000_MICROS = 946_684_800_000_000  # timestamps count from 2000-01-01


class RowBuffer:
    """Takes the stream in pieces of any size; gives rows of dtype RAW_COLUMNS."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_headless = False
        self._parts: list[NDArray[np.void]] = []

    async def feed(self, data: bytes) -> None:
        """Take the next piece."""
        data = self._rest + data
        if not self._is_headless:
            if len(data) < _HEADER_BYTES:
                self._rest = data
                return
            if not data.startswith(_SIGNATURE):
                raise ValueError("not a binary COPY stream")
            data, self._is_headless = data[_HEADER_BYTES:], True
        whole = len(data) // _ROW.itemsize
        self._rest = data[whole * _ROW.itemsize :]
        if whole:
            self._parts.append(_converted(np.frombuffer(data, dtype=_ROW, count=whole)))

    def rows(self) -> NDArray[np.void]:
        """Everything that came. Raises ValueError if the stream did not end as it should."""
        if self._rest != struct.pack(">h", -1):
            raise ValueError("the binary COPY stream was cut off")
        return np.concatenate(self._parts) if self._parts else np.empty(0, dtype=RAW_COLUMNS)


def _converted(wire: NDArray[np.void]) -> NDArray[np.void]:
    rows = np.empty(len(wire), dtype=RAW_COLUMNS)
    for name in RAW_COLUMNS.names or ():
        rows[name] = wire[name]
    rows["micros"] += _EPOCH_2000_MICROS
    return rows
