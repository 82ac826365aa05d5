"""The values of a Parquet column as rows hold them: text, numbers, moments, dates, lists, mappings.

What cannot be expressed becomes Unreadable in its cell, never an error of the whole file. Nanoseconds are cut to
microseconds. NaN is nothing. Bytes that are UTF-8 are text: older writers did not say so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pyarrow as pa

from app.domain.files import Unreadable

_OUT_OF_RANGE = Unreadable("is outside of what can be expressed")
_AS_THEY_ARE = (str, bool, int, datetime, date, type(None))


def values_of(column: pa.Array) -> Sequence[object]:
    """The values of a column, n of them."""
    column = _readable(column)
    try:
        values: list[object] = column.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError, NotImplementedError):
        values = [_alone(column[place]) for place in range(len(column))]
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        return values
    return [plain(value) for value in values]


def _readable(column: pa.Array) -> pa.Array:
    """The column in a type that Python can hold: no dictionaries, no nanoseconds."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _readable(column.dictionary_decode())
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", None if kind.tz is None else "UTC"), safe=False)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return column.cast(pa.timestamp(kind.unit, "UTC"))
    if pa.types.is_time64(kind):
        return column.cast(pa.time64("us"), safe=False)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return column.cast(pa.duration("us"), safe=False)
    return column


def _alone(scalar: pa.Scalar) -> object:
    try:
        return scalar.as_py()
    except (pa.ArrowException, ValueError, OverflowError, NotImplementedError):
        return _OUT_OF_RANGE


def plain(value: object) -> object:
    """One value, and what is in it, without the types that only Parquet and databases know."""
    if isinstance(value, _AS_THEY_ARE):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    return Unreadable(f"is of a type that is not read ({type(value).__name__})")


def _mapping(value: Mapping[object, object]) -> object:
    return {str(name): plain(cell) for name, cell in value.items()}


def _list(value: Sequence[object]) -> object:
    """A list; a map comes as a list of pairs."""
    if value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        return _mapping(dict(value))  # type: ignore[arg-type]  # pairs they are
    return [plain(cell) for cell in value]


def _number(value: Decimal) -> object:
    if not value.is_finite():
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _text(value: bytes) -> object:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return Unreadable("holds bytes that are not UTF-8")


_CONVERSIONS: Sequence[tuple[type, Callable[..., object]]] = (
    (Mapping, _mapping),
    (list, _list),
    (Decimal, _number),
    (bytes, _text),
    (time, time.isoformat),
    (timedelta, timedelta.total_seconds),
    (UUID, str),
)
