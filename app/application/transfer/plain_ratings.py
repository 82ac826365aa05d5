"""The usual rows of an import, many times as fast: text cells, valid ids, ratings in range, whole numbers for times.

Whole columns are converted and checked at once, by the functions that check a single cell. It decides nothing by
itself: whatever is not plain goes row by row through InteractionRows, and a test compares the two ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha1

import numpy as np

from app.application.ingestion.event_decoding import EVENT_NAMESPACE
from app.application.transfer.row_values import (
    LEEWAY,
    RATING_RANGE,
    UNITS,
    RowError,
    checked_item,
    checked_user,
    number_of,
)
from app.application.transfer.scales import Scale
from app.domain.entities import Kind
from app.domain.interaction_table import InteractionTable

Columns = Mapping[str, Sequence[object] | None]
_PLAIN, _NOT_PLAIN = ("user_id", "item_id", "value", "timestamp"), ("event_id", "kind", "duration", "device")
_SECOND = 1_000_000  # in µs
_FIRST_MICROSECOND = 22_000_000 * _SECOND  # below lies what may be a date, such as 20260624, or no time at all


def could_be_plain(columns: Columns) -> bool:
    """Whether exactly the columns of a plain rating are there."""
    return all(columns[name] for name in _PLAIN) and not any(columns[name] for name in _NOT_PLAIN)


def plain_ratings(
    columns: Columns, now: datetime, unit: str = "s", scale: Scale | None = None
) -> InteractionTable | None:
    """The ratings of rows given by columns (None: not there), or None if not all of them are plain ones.

    Times are whole numbers of `unit`; ratings are on `scale`, if there is one.
    """
    if not could_be_plain(columns):
        return None
    texts = [_texts(columns[name]) for name in _PLAIN]
    try:
        users, items, values, times = (text for text in texts if text is not None)
        if not "".join(times).isdigit():  # ` 1` and `1_000` are numbers for Python only
            return None
        micros = _micros(times, unit)
        ratings = {value: _rating(value, scale) for value in set(values)}
        if any(checked_user(user) != user for user in set(users)):
            return None
        if any(checked_item(item) != item for item in set(items)):
            return None
    except (ValueError, RowError):
        return None
    if min(micros) < _FIRST_MICROSECOND or max(micros) > (now + LEEWAY).timestamp() * _SECOND:
        return None
    count = len(users)
    identities = _identities(users, items, micros, values, {text: str(rating) for text, rating in ratings.items()})
    return InteractionTable(
        identities,
        list(users),
        list(items),
        [Kind.RATING] * count,
        micros,
        [ratings[value] for value in values],
        [None] * count,
        [None] * count,
    )


def _texts(column: Sequence[object] | None) -> Sequence[str] | None:
    """The column, if it is there and all text."""
    if column is None or set(map(type, column)) != {str}:
        return None
    return column  # type: ignore[return-value]  # every one of them is text


def _micros(times: Sequence[str], unit: str) -> list[int]:
    """Raises ValueError for times that are no whole microseconds."""
    if unit == "ns":
        raise ValueError
    factor = _SECOND // UNITS[unit]
    return [int(time) * factor for time in times]


def _rating(text: str, scale: Scale | None) -> float:
    value = number_of(text, "value")
    if value is not None and scale is not None:
        value = scale.rating(value)
    if value is None or not RATING_RANGE[0] <= value <= RATING_RANGE[1]:
        raise RowError("a rating is a number from 0.5 to 5")
    return value


def _identities(
    users: Sequence[str], items: Sequence[str], micros: Sequence[int], values: Sequence[str], names: Mapping[str, str]
) -> list[bytes]:
    """As event_decoding.content_identity gives them; `names` has the number of each value as Python writes it."""
    namespace = EVENT_NAMESPACE.bytes
    if any(micro % _SECOND for micro in micros):  # content_identity goes over floating seconds
        micros = [int(micro / _SECOND * _SECOND) for micro in micros]
    contents = [
        f"{user}\0{item}\0rating\0{micro}\0{names[value]}\0None\0".encode()
        for user, item, micro, value in zip(users, items, micros, values, strict=True)
    ]
    digests = b"".join([sha1(namespace + content, usedforsecurity=False).digest() for content in contents])
    ids = np.frombuffer(digests, dtype=np.uint8).reshape(-1, 20)[:, :16].copy()
    # version 5 and variant 10, https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-5
    ids[:, 6] = ids[:, 6] & 0x0F | 0x50
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80
    raw = ids.tobytes()
    return [raw[start : start + 16] for start in range(0, len(raw), 16)]
