"""The usual batch of an import, several times as fast: text cells, valid ids, ratings in range, whole Unix seconds.

Whole columns are converted and checked at once. It decides nothing by itself: whatever is not plain goes row by row
through InteractionRows, and a test compares the two ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha1
from itertools import repeat
from uuid import UUID

from app.application.ingestion.event_decoding import EVENT_NAMESPACE
from app.application.transfer.row_values import LEEWAY, RATING_RANGE, RowError, checked_item, checked_user
from app.domain.models import Interaction, Kind

Columns = Mapping[str, Sequence[object] | None]
_FIRST_SECOND = 86_400


def plain_ratings(columns: Columns, now: datetime) -> list[Interaction] | None:
    """The ratings of a batch given by columns (None: not there), or None if it is not a plain one."""
    texts = [_texts(columns[name]) for name in ("user_id", "item_id", "value", "timestamp")]
    if any(columns[name] is not None for name in ("event_id", "kind", "duration", "device")):
        return None
    try:
        users, items, values, times = (text for text in texts if text is not None)
        ratings, seconds = list(map(float, values)), list(map(int, times))
        for user in set(users):
            checked_user(user)
        for item in set(items):
            checked_item(item)
    except (ValueError, RowError):
        return None
    # `1_000` is a number for Python only; NaN fails the comparisons that min and max make only by luck, so it is named.
    if "_" in "".join(values) or "_" in "".join(times) or any(rating != rating for rating in ratings):
        return None
    if min(ratings) < RATING_RANGE[0] or max(ratings) > RATING_RANGE[1]:
        return None
    if min(seconds) < _FIRST_SECOND or max(seconds) > (now + LEEWAY).timestamp():
        return None
    moments = map(datetime.fromtimestamp, seconds, repeat(UTC))
    identities = _identities(users, items, seconds, ratings)
    return list(map(Interaction, identities, users, items, repeat(Kind.RATING), moments, ratings))


def _texts(column: Sequence[object] | None) -> Sequence[str] | None:
    """The column, if it is there and all text."""
    if column is None or set(map(type, column)) != {str}:
        return None
    return [cell for cell in column if isinstance(cell, str)]


def _identities(
    users: Sequence[str], items: Sequence[str], seconds: Sequence[int], ratings: Sequence[float]
) -> Iterator[UUID]:
    """As event_decoding.content_identity gives them."""
    namespace = sha1(EVENT_NAMESPACE.bytes, usedforsecurity=False)
    for user, item, second, rating in zip(users, items, seconds, ratings, strict=True):
        content = namespace.copy()
        content.update(f"{user}\0{item}\0rating\0{second}000000\0{rating}\0None\0".encode())
        yield UUID(bytes=content.digest()[:16], version=5)
