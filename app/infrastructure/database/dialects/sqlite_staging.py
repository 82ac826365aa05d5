"""How a batch gets into `staged` on SQLite: a thousand rows a statement.

A statement a row costs four times as much; and each one lets go of the interpreter's lock, so that beside a thread
which is decoding the next rows it waits for that thread, row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import cast

from app.infrastructure.database.dialects.base import StagedColumns

ROWS = 1_000
"""In one statement: at most 12 values each, where SQLite takes 32,766 (SQLITE_MAX_VARIABLE_NUMBER)."""

_OFTEN_CONSTANT = frozenset({"kind", "value", "duration", "device", "is_alone"})
Parameters = tuple[object, ...]


def staging_inserts(columns: StagedColumns, first: int) -> Iterator[tuple[str, Parameters | list[Parameters]]]:
    """(INSERT, its values) of the whole batch, sequences from `first` on; a list of values is for executemany."""
    sequences = range(first, first + len(columns["position"]))
    names, places, varying = ["sequence"], ["?"], [cast(Sequence[object], sequences)]
    for name, values in columns.items():
        literal = _literal(values) if name in _OFTEN_CONSTANT else None
        if literal is None:
            varying.append(values)
        names.append(name)
        places.append(literal or "?")
    rows = list(zip(*varying, strict=True))
    whole = len(rows) - len(rows) % ROWS
    for start in range(0, whole, ROWS):
        yield _statement(tuple(names), tuple(places), ROWS), tuple(chain.from_iterable(rows[start : start + ROWS]))
    if whole < len(rows):
        yield _statement(tuple(names), tuple(places), 1), rows[whole:]


@lru_cache(maxsize=32)
def _statement(names: tuple[str, ...], places: tuple[str, ...], rows: int) -> str:
    row = f"({', '.join(places)})"
    return f"INSERT INTO staged ({', '.join(names)}) VALUES {', '.join([row] * rows)}"  # noqa: S608 - names and numbers of ours


def _literal(values: Sequence[object]) -> str | None:
    """The number or nothing that is in every row: binding a value costs as much as storing it."""
    one = values[0]
    if (one is not None and not isinstance(one, int)) or values.count(one) < len(values):
        return None
    return "NULL" if one is None else str(int(one))
