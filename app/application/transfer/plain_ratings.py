"""The usual rows of an import, many times as fast: text cells, valid ids, ratings in range, whole Unix seconds.

Whole columns are converted and checked at once, by the functions that check a single cell. It decides nothing by
itself: whatever is not plain goes row by row through InteractionRows, and a test compares the two ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha1

import numpy as np

from app.application.ingestion.event_decoding import EVENT_NAMESPACE
from app.application.transfer.row_values import LEEWAY, RATING_RANGE, RowError, checked_item, checked_user, number_of
from app.domain.entities import Kind
from app.domain.interaction_table import InteractionTable

Columns = Mapping[str, Sequence[object] | None]
_PLAIN, _NOT_PLAIN = ("user_id", "item_id", "value", "timestamp"), ("event_id", "kind", "duration", "device")
_FIRST_SECOND = 86_400


def could_be_plain(columns: Columns) -> bool:
    """Whether exactly the columns of a plain rating are there."""
    return all(columns[name] for name in _PLAIN) and not any(columns[name] for name in _NOT_PLAIN)


def plain_ratings(columns: Columns, now: datetime) -> InteractionTable | None:
    """The ratings of rows given by columns (None: not there), or None if not all of them are plain ones."""
    if not could_be_plain(columns):
        return None
    texts = [_texts(columns[name]) for name in _PLAIN]
    try:
        users, items, values, times = (text for text in texts if text is not None)
        if not "".join(times).isdigit():  # ` 1` and `1_000` are numbers for Python only
            return None
        seconds = list(map(int, times))
        ratings = {value: _rating(value) for value in set(values)}
        for user in set(users):
            checked_user(user)
        for item in set(items):
            checked_item(item)
    except (ValueError, RowError):
        return None
    if min(seconds) < _FIRST_SECOND or max(seconds) > (now + LEEWAY).timestamp():
        return None
    count = len(users)
    identities = _identities(users, items, seconds, values, {text: str(rating) for text, rating in ratings.items()})
    return InteractionTable(
        identities,
        list(users),
        list(items),
        [Kind.RATING] * count,
        [second * 1_000_000 for second in seconds],
        [ratings[value] for value in values],
        [None] * count,
        [None] * count,
    )


def _texts(column: Sequence[object] | None) -> Sequence[str] | None:
    """The column, if it is there and all text."""
    if column is None or set(map(type, column)) != {str}:
        return None
    return column  # type: ignore[return-value]  # every one of them is text


def _rating(text: str) -> float:
    value = number_of(text, "value")
    if value is None or not RATING_RANGE[0] <= value <= RATING_RANGE[1]:
        raise RowError("a rating is a number from 0.5 to 5")
    return value


def _identities(
    users: Sequence[str], items: Sequence[str], seconds: Sequence[int], values: Sequence[str], names: Mapping[str, str]
) -> list[bytes]:
    """As event_decoding.content_identity gives them; `names` has the number of each value as Python writes it."""
    namespace = EVENT_NAMESPACE.bytes
    contents = [
        f"{user}\0{item}\0rating\0{second}000000\0{names[value]}\0None\0".encode()
        for user, item, second, value in zip(users, items, seconds, values, strict=True)
    ]
    digests = b"".join([sha1(namespace + content, usedforsecurity=False).digest() for content in contents])
    ids = np.frombuffer(digests, dtype=np.uint8).reshape(-1, 20)[:, :16].copy()
    # version 5 and variant 10, https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-5
    ids[:, 6] = ids[:, 6] & 0x0F | 0x50
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80
    raw = ids.tobytes()
    return [raw[start : start + 16] for start in range(0, len(raw), 16)]
