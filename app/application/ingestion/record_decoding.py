"""From a record of the log to what it means. Shapes: bare JSON, CloudEvents (both modes), the schema-registry frame.

Most records are bare JSON of the one event their topic is for: those are decoded straight into its shape. Whatever is
not that, or not valid as that, takes the long way, which is the only one that judges (event_decoding).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from app.application.ingestion.batch_planning import DecodedRecord, Rejected
from app.application.ingestion.event_decoding import MAX_EVENT_BYTES, OLDEST, decode_event, interaction_from
from app.application.ingestion.event_types import EVENT_TYPES, TOPICS, UserEvent
from app.domain.exceptions import EventRejectedError
from app.domain.interfaces import SourceRecord

FRAME_MAGIC, FRAME_BYTES = b"\0", 5
"""Confluent's wire format: a zero byte and a four-byte schema id before the JSON.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

MAX_HEADERS = 64
"""More than that is a flood: the record is read as if it had none."""

ENVELOPE_FIELDS = ("specversion", "type", "event_type", "event", "schema_version")
"""With one of these an event says about itself what it is: the long way reads that."""


class _Straight:
    """Decodes the bare JSON of one event; None for anything that needs a second look.

    The ids are plain text here: `interaction_from` asks the same question of them, and asking it once is faster.
    """

    def __init__(self, shape: type[UserEvent]) -> None:
        optional = [(name, Any, msgspec.UNSET) for name in ENVELOPE_FIELDS]
        ids = [(name, str) for name in ("user_id", "video_id", "item_id") if name in shape.__struct_fields__]
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [*ids, *optional]
        bare: Any = msgspec.defstruct(f"Bare{shape.__name__}", fields, bases=(shape,), frozen=True, kw_only=True)
        self._decoder = msgspec.json.Decoder(bare)

    def decode(self, body: bytes, now: datetime, max_age: timedelta) -> DecodedRecord | None:
        try:
            event: Any = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        unset = msgspec.UNSET
        if (
            event.type is not unset
            or event.event_type is not unset
            or event.event is not unset
            or event.specversion is not unset
            or event.schema_version is not unset
        ):
            return None
        try:
            return interaction_from(event, event.event_id, now, max_age)
        except EventRejectedError:
            return None  # of several things that are wrong the long way names the first


@dataclass(frozen=True, slots=True)
class _TopicRule:
    """What a topic is for."""

    name: str | None
    straight: _Straight | None


def _rule(name: str) -> _TopicRule:
    shape = EVENT_TYPES[name]
    return _TopicRule(name, _Straight(shape) if issubclass(shape, UserEvent) else None)


_RULES: Mapping[str, _TopicRule] = {topic: _rule(name) for topic, name in TOPICS.items()}


def decode_records(
    topic: str, records: Sequence[SourceRecord], now: datetime, max_age: timedelta = OLDEST
) -> list[DecodedRecord]:
    """What each record means, in the same order. Never raises: what cannot be read is Rejected. CPU-bound."""
    rule = _RULES.get(topic, _TopicRule(None, None))
    return [_decoded(record, rule, now, max_age) for record in records]


def _decoded(record: SourceRecord, rule: _TopicRule, now: datetime, max_age: timedelta) -> DecodedRecord:
    try:
        body = record.value
        if rule.straight is not None and body and len(body) <= MAX_EVENT_BYTES and not record.headers:
            event = rule.straight.decode(body, now, max_age)
            if event is not None:
                return event
        return _opened(record, rule.name, now, max_age)
    except EventRejectedError as rejected:
        return Rejected(rejected.reason)


def _opened(record: SourceRecord, name: str | None, now: datetime, max_age: timedelta) -> DecodedRecord:
    """The long way: any shape, and the reason if it is none."""
    if not record.value:
        raise EventRejectedError("empty")
    body = without_frame(record.value)
    if not record.headers or len(record.headers) > MAX_HEADERS:
        return decode_event(body, now, name=name, max_age=max_age)
    headers = {key: _text(value) for key, value in record.headers if key in ("ce_id", "ce_type", "ce_source")}
    kind, identity = headers.get("ce_type"), headers.get("ce_id")
    return decode_event(
        body,
        now,
        name=kind.rsplit(".", 1)[-1] if kind else name,
        identity=None if identity is None else (headers.get("ce_source") or "", identity),
        max_age=max_age,
    )


def without_frame(body: bytes) -> bytes:
    """The JSON behind a schema-registry frame, or what there is without one."""
    return body[FRAME_BYTES:] if body[:1] == FRAME_MAGIC else body


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError as error:
        raise EventRejectedError("decode") from error
