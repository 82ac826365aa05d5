"""From bytes (or a parsed object) to an interaction or a catalog change: the same rules for HTTP and Kafka.

An event that can never be taken in raises EventRejectedError with a stable reason code; nothing else is raised. Codes:
empty, too_large, decode, shape, unsupported, ambiguous, missing_field, event_id, user_id, item_id, rating_range,
duration_range, value_range, timestamp, timestamp_range, action, kind, device, catalog.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import msgspec

from app.application.ingestion.event_types import (
    DISTINGUISHING_FIELDS,
    EVENT_TYPES,
    EventType,
    ItemInteracted,
    ItemRemoved,
    ItemUpserted,
    UserEvent,
    VideoRated,
    VideoWatched,
    WatchlistUpdated,
)
from app.domain.entities import RESERVED_ITEM_IDS, RESERVED_USER_IDS, Interaction, Item, Kind
from app.domain.exceptions import EventRejectedError
from app.domain.identifiers import as_id, id_of

MAX_EVENT_BYTES = 262_144
"""The longest description with every tag fits; a larger record is a mistake or an attack."""

MAX_ATTRIBUTES_BYTES = 16_384
OLDEST, NEWEST = timedelta(days=400), timedelta(minutes=5)
"""How far from now an event may be dated: late phones and skewed clocks, but no 1970 and no 2099."""

EVENT_NAMESPACE = UUID("6f1d8f0e-63b5-5f0b-9d2c-0c6a4a1f7a11")
_IDS = ("user_id", "item_id", "video_id")
_NAMES = ("type", "event_type", "event")
_FIELD = re.compile(r"at `\$\.([a-z_]+)")
_MISSING = re.compile(r"missing required field `([a-z_]+)`")
_REASONS = {
    "event_id": "event_id",
    "user_id": "user_id",
    "video_id": "item_id",
    "item_id": "item_id",
    "rating": "rating_range",
    "watched_duration": "duration_range",
    "total_duration": "duration_range",
    "value": "value_range",
    "timestamp": "timestamp",
    "action": "action",
    "kind": "kind",
    "device": "device",
}


@dataclass(frozen=True, slots=True)
class ItemRemoval:
    """An item left the catalog at `at`."""

    item_id: str
    at: datetime


DecodedEvent = Interaction | Item | ItemRemoval


@dataclass(frozen=True, slots=True)
class _Envelope:
    """An event taken out of its wrapping: `name` of the event if it says so, `identity` if it has one of its own."""

    fields: Mapping[str, object]
    name: str | None
    identity: UUID | None = None


def decode_event(
    raw: bytes | Mapping[str, object],
    now: datetime,
    *,
    name: str | None = None,
    identity: tuple[str, str] | None = None,
    max_age: timedelta = OLDEST,
) -> DecodedEvent:
    """Decode one event.

    `name` is the event name that topic or header imply, used where the event does not name itself; `identity` the
    CloudEvents (source, id) of headers; `max_age` how old an event may be. Accepts the bare event, with or without
    `type`, and structured CloudEvents.
    """
    envelope = _opened(_parsed(raw) if isinstance(raw, bytes) else raw, identity)
    shape = EVENT_TYPES.get(envelope.name or name or _inferred(envelope.fields))
    if shape is None:
        raise EventRejectedError("unsupported", "type")
    return _built(_converted(envelope.fields, shape), envelope.identity, now, max_age)


def _parsed(raw: bytes) -> Mapping[str, object]:
    if not raw.strip():
        raise EventRejectedError("empty")
    if len(raw) > MAX_EVENT_BYTES:
        raise EventRejectedError("too_large")
    try:
        parsed = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EventRejectedError("decode") from error
    if not isinstance(parsed, dict):
        raise EventRejectedError("shape")
    return parsed


def _opened(event: Mapping[str, object], identity: tuple[str, str] | None) -> _Envelope:
    """Unwrap a structured CloudEvent (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md)."""
    if event.get("schema_version", 1) not in (1, "1", "1.0"):
        raise EventRejectedError("unsupported", "schema_version")
    if "specversion" not in event:
        return _Envelope(event, _named(event), None if identity is None else _cloud_identity(*identity))
    data, source = event.get("data"), event.get("source")
    if event["specversion"] != "1.0" or not isinstance(data, Mapping):
        raise EventRejectedError("unsupported", "specversion")
    if not isinstance(event.get("id"), str) or not isinstance(source, str):
        raise EventRejectedError("event_id", "id")
    fields = data if "timestamp" in data or "time" not in event else {**data, "timestamp": event["time"]}
    return _Envelope(fields, _named(event), _cloud_identity(source, str(event["id"])))


def _named(event: Mapping[str, object]) -> str | None:
    """The event name an event gives itself: `VideoWatched`, or the last part of `com.example.VideoWatched`."""
    for key in _NAMES:
        name = event.get(key)
        if name is not None:
            return name.rsplit(".", 1)[-1] if isinstance(name, str) else "unsupported"
    return None


def _cloud_identity(source: str, identity: str) -> UUID:
    """A CloudEvents id is any text, unique with its source; a UUID stands for itself."""
    if not identity or len(identity) > 256 or not identity.isprintable():
        raise EventRejectedError("event_id", "id")
    if "\0" in source:  # what separates the parts of an identity: with it a source could pass for a whole event
        raise EventRejectedError("event_id", "source")
    try:
        return UUID(identity)
    except ValueError:
        return uuid5(EVENT_NAMESPACE, f"{source}\0{identity}")


def _inferred(fields: Mapping[str, object]) -> str:
    names = {name for field, name in DISTINGUISHING_FIELDS.items() if field in fields}
    if len(names) > 1:
        raise EventRejectedError("ambiguous", "type")
    return names.pop() if names else "unsupported"


def _converted(fields: Mapping[str, object], shape: type[EventType]) -> EventType:
    if any(type(fields.get(name)) is int for name in _IDS):
        fields = {name: id_of(value) if name in _IDS else value for name, value in fields.items()}
    try:
        return msgspec.convert(fields, shape)
    except msgspec.ValidationError as error:
        raise _rejection(str(error), shape) from error
    except (RecursionError, UnicodeError) as error:
        raise EventRejectedError("decode") from error


def _rejection(message: str, shape: type[EventType]) -> EventRejectedError:
    missing = _MISSING.search(message)
    if missing:
        return EventRejectedError("missing_field", missing[1])
    found = _FIELD.search(message)
    field = found[1] if found else None
    if issubclass(shape, ItemUpserted | ItemRemoved) and field != "item_id":
        return EventRejectedError("catalogue", field)
    return EventRejectedError(_REASONS.get(field or "", "shape"), field)


def _built(event: EventType, identity: UUID | None, now: datetime, max_age: timedelta) -> DecodedEvent:
    match event:
        case ItemUpserted():
            return item_from(event, now)
        case ItemRemoved():
            return ItemRemoval(_item_id(event.item_id, "item_id"), _updated(event.updated_at, now))
        case _:
            return interaction_from(event, identity or event.event_id, now, max_age)


def interaction_from(
    event: UserEvent, identity: UUID | None, now: datetime, max_age: timedelta = OLDEST
) -> Interaction:
    """The interaction of a user event. `identity` is the id it came with; None makes one from its content."""
    user_id = as_id(event.user_id)
    if user_id is None or user_id in RESERVED_USER_IDS:
        raise EventRejectedError("user_id", "user_id")
    item_id, kind, value, duration = _content(event)
    occurred_at = _moment(event.timestamp, now, max_age)
    # spelled out, as in _moment: this runs for every event, tens of thousands of times a second
    if (value is not None and not math.isfinite(value)) or (duration is not None and not math.isfinite(duration)):
        raise EventRejectedError("value_range")
    if identity is None:
        identity = content_identity(user_id, item_id, kind, occurred_at, value, duration, event.device)
    # an empty name of a device is none, as in the identity
    return Interaction(identity, user_id, item_id, kind, occurred_at, value, duration, event.device or None)


def _content(event: UserEvent) -> tuple[str, Kind, float | None, float | None]:
    """(item id, kind, value, duration) of each event, as Interaction wants them."""
    match event:
        case VideoWatched():
            # Players report a little more than the whole when somebody rewinds: more than everything is everything.
            watched = min(event.watched_duration, event.total_duration)
            return _item_id(event.video_id, "video_id"), Kind.WATCH, watched, event.total_duration
        case VideoRated():
            return _item_id(event.video_id, "video_id"), Kind.RATING, event.rating, None
        case WatchlistUpdated():
            return _item_id(event.video_id, "video_id"), Kind.WATCHLIST, float(event.action == "added"), None
        case ItemInteracted():
            return _item_id(event.item_id, "item_id"), Kind(event.kind), event.value, None
    raise EventRejectedError("unsupported", "type")


def _item_id(text: str, field: str) -> str:
    # The pattern of the shape lets a trailing line feed pass, as `$` does in Python.
    item_id = as_id(text)
    if item_id is None or item_id in RESERVED_ITEM_IDS:
        raise EventRejectedError("item_id", field)
    return item_id


def _moment(timestamp: datetime | float, now: datetime, max_age: timedelta) -> datetime:
    if not isinstance(timestamp, datetime):
        # Milliseconds taken for seconds land far outside what a datetime can hold.
        if not timestamp < 1e11:
            raise EventRejectedError("timestamp_range", "timestamp")
        timestamp = datetime.fromtimestamp(timestamp, UTC)
    if not now - max_age <= timestamp <= now + NEWEST:
        raise EventRejectedError("timestamp_range", "timestamp")
    return timestamp if timestamp.tzinfo is UTC else timestamp.astimezone(UTC)


def _updated(at: datetime | None, now: datetime) -> datetime:
    """When a catalog change was made. One from the future would win against every later one."""
    if at is not None and at > now + NEWEST:
        raise EventRejectedError("timestamp_range", "updated_at")
    return (at or now).astimezone(UTC)


def item_from(event: ItemUpserted, now: datetime) -> Item:
    """The catalog entry of an upsert. The year is that of publication where none is given."""
    attributes = msgspec.json.encode(event.attributes)
    # PostgreSQL stores no NUL inside JSON either.
    if len(attributes) > MAX_ATTRIBUTES_BYTES or b"\\u0000" in attributes:
        raise EventRejectedError("catalogue", "attributes")
    published = event.published_at
    return Item(
        item_id=_item_id(event.item_id, "item_id"),
        updated_at=_updated(event.updated_at, now),
        title=event.title,
        description=event.description,
        genres=tuple(dict.fromkeys(event.genres)),
        tags=tuple(dict.fromkeys(event.tags)),
        year=event.year if event.year is not None or published is None else published.year,
        published_at=published,
        available=event.available,
        available_from=event.available_from,
        available_until=event.available_until,
        attributes=event.attributes,
    )


def content_identity(
    user_id: str,
    item_id: str,
    kind: Kind,
    occurred_at: datetime,
    value: float | None,
    duration: float | None,
    device: str | None,
) -> UUID:
    """The identity of an event that brings none: a UUIDv5 of everything it says, so that a repeat is the same event."""
    at = int(occurred_at.timestamp() * 1_000_000)
    return uuid5(EVENT_NAMESPACE, f"{user_id}\0{item_id}\0{kind}\0{at}\0{value}\0{duration}\0{device or ''}")
