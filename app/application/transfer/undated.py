"""Rows without a timestamp: dated by their order, known by their content.

A file that has grown is imported again and again, with new rows above the old ones as often as below. So the identity
of such a row is what it says and how many rows before it said the same, wherever it stands.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from uuid import UUID

from app.application.ingestion.event_decoding import EVENT_NAMESPACE
from app.domain.entities import Interaction, Kind

UNDATED_START = datetime(2000, 1, 1, tzinfo=UTC)
"""A row without a timestamp happened at this moment plus one millisecond per row above it in its file."""

MAX_REPEATED = 1_000_000
"""How many different rows are remembered to count repeats, some 100 bytes each; repeats of others are duplicates."""

_LATEST = UNDATED_START + timedelta(days=366)  # no file has thirty thousand million rows
_VERSION = 8  # for identities of one's own making, https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-8
_STATES = frozenset({Kind.RATING, Kind.LIKE, Kind.DISLIKE, Kind.WATCHLIST})
"""Saying these twice says no more than saying them once."""


class UndatedRows:
    """The identities of the undated rows of one file."""

    def __init__(self) -> None:
        self.count = 0
        self._times: dict[bytes, int] = {}

    def identity(
        self,
        user_id: str,
        item_id: str,
        kind: Kind,
        value: float | None,
        duration: float | None,
        device: str | None,
    ) -> UUID:
        """The identity of the next such row."""
        self.count += 1
        content = f"{user_id}\0{item_id}\0{kind}\0{value}\0{duration}\0{device or ''}".encode()
        before = 0 if kind in _STATES else self._seen(content)
        digest = blake2b(content + b"\0%d" % before, key=EVENT_NAMESPACE.bytes, digest_size=16).digest()
        return UUID(
            bytes=digest[:6]
            + bytes([digest[6] & 0x0F | _VERSION << 4, digest[7], digest[8] & 0x3F | 0x80])
            + digest[9:]
        )

    def _seen(self, content: bytes) -> int:
        key = blake2b(content, digest_size=8).digest()
        before = self._times.get(key, 0)
        if before or len(self._times) < MAX_REPEATED:
            self._times[key] = before + 1
        return before


def is_undated(event: Interaction) -> bool:
    """Whether an event had no time of its own: then another time of the same event is no contradiction."""
    return event.event_id.version == _VERSION and UNDATED_START <= event.occurred_at < _LATEST
