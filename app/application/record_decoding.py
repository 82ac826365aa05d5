"""From a record of the log to what it means. Shapes: bare JSON, CloudEvents (both modes), the schema-registry frame."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.application.event_decoding import decode
from app.application.event_shapes import TOPICS
from app.application.ingestion import Decoded, Rejected
from app.domain.exceptions import EventRejectedError
from app.domain.interfaces import SourceRecord

FRAME_MAGIC, FRAME_BYTES = b"\0", 5
"""Confluent's wire format: a zero byte and a four-byte schema id before the JSON.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

MAX_HEADERS = 64
"""More than that is a flood: the record is read as if it had none."""


def decode_records(topic: str, records: Sequence[SourceRecord], now: datetime) -> list[Decoded]:
    """What each record means, in the same order. Never raises: what cannot be read is Rejected. CPU-bound."""
    name = TOPICS.get(topic)
    return [_decoded(record, name, now) for record in records]


def _decoded(record: SourceRecord, name: str | None, now: datetime) -> Decoded:
    try:
        return _opened(record, name, now)
    except EventRejectedError as rejected:
        return Rejected(rejected.reason)


def _opened(record: SourceRecord, name: str | None, now: datetime) -> Decoded:
    body = record.value
    if not body:
        raise EventRejectedError("empty")
    body = without_frame(body)
    if not record.headers or len(record.headers) > MAX_HEADERS:
        return decode(body, now, name=name)
    attributes = {key: value for key, value in record.headers if key in ("ce_id", "ce_type")}
    kind = _text(attributes.get("ce_type"))
    return decode(body, now, name=kind.rsplit(".", 1)[-1] if kind else name, identity=_text(attributes.get("ce_id")))


def without_frame(body: bytes) -> bytes:
    """The JSON behind a schema-registry frame, or what there is without one."""
    return body[FRAME_BYTES:] if body[:1] == FRAME_MAGIC else body


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise EventRejectedError("decode") from error
