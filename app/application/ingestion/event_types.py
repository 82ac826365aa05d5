"""What incoming events look like (docs/design.md §6). Decoder and AsyncAPI document come from these classes alone.

Fields that a producer adds later are ignored. Numbers are numbers and texts are texts: nothing is converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from msgspec import Meta, Struct

from app.domain.identifiers import ID_PATTERN, ID_RULE, MAX_ID_LENGTH

MAX_SECONDS = 604_800.0
"""A week: no single watch is longer, and a broken clock or unit is."""

_TEXT = "^[^\\x00\\ud800-\\udfff]*$"
"""PostgreSQL stores neither NUL nor half a surrogate pair."""

Id = Annotated[
    str,
    Meta(
        pattern=ID_PATTERN,
        max_length=MAX_ID_LENGTH,
        description=f"{ID_RULE}; kept in Unicode's composed form. A whole number is taken as its digits.",
    ),
]
Seconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS)]
Moment = Annotated[datetime, Meta(tz=True)]
Timestamp = Moment | Annotated[float, Meta(ge=0, description="Unix seconds")]
Label = Annotated[str, Meta(min_length=1, max_length=100, pattern=_TEXT)]


class UserEvent(Struct, frozen=True, kw_only=True):
    """Common to events about one user and one item."""

    user_id: Id
    timestamp: Timestamp
    event_id: UUID | None = None
    device: Annotated[str, Meta(max_length=100, pattern=_TEXT)] | None = None


class VideoWatched(UserEvent, frozen=True, kw_only=True):
    """Somebody watched some seconds of a video."""

    video_id: Id
    watched_duration: Seconds
    total_duration: Annotated[float, Meta(gt=0, le=MAX_SECONDS)]


class VideoRated(UserEvent, frozen=True, kw_only=True):
    """Somebody rated a video."""

    video_id: Id
    rating: Annotated[float, Meta(ge=0.5, le=5)]


class WatchlistUpdated(UserEvent, frozen=True, kw_only=True):
    """Somebody put a video on the watchlist or took it off."""

    video_id: Id
    action: Literal["added", "removed"]


class ItemInteracted(UserEvent, frozen=True, kw_only=True):
    """Anything else that people do to items: posts, books, clicks on a shown list."""

    item_id: Id
    kind: Literal["view", "like", "dislike", "comment", "share", "click", "purchase"]
    value: Annotated[float, Meta(ge=0, le=1_000_000)] | None = None


class ItemUpserted(Struct, frozen=True, kw_only=True):
    """A catalog entry, whole. `updated_at` decides between two (newest wins); absent means now."""

    item_id: Id
    title: Annotated[str, Meta(max_length=500, pattern=_TEXT)] | None = None
    description: Annotated[str, Meta(max_length=20_000, pattern=_TEXT)] | None = None
    genres: Annotated[tuple[Label, ...], Meta(max_length=50)] = ()
    tags: Annotated[tuple[Label, ...], Meta(max_length=200)] = ()
    year: Annotated[int, Meta(ge=0, le=3_000)] | None = None
    published_at: Moment | None = None
    available: bool = True
    available_from: Moment | None = None
    available_until: Moment | None = None
    attributes: Annotated[Mapping[Label, Any], Meta(max_length=64)] = {}
    updated_at: Moment | None = None


class ItemRemoved(Struct, frozen=True, kw_only=True):
    """A catalog entry is gone; its interactions stay."""

    item_id: Id
    updated_at: Moment | None = None


EventType = VideoWatched | VideoRated | WatchlistUpdated | ItemInteracted | ItemUpserted | ItemRemoved

EVENT_TYPES: Mapping[str, type[EventType]] = {shape.__name__: shape for shape in get_args(EventType)}
"""Event name → its fields."""

TOPICS: Mapping[str, str] = {
    "analytics-service.video-watched": "VideoWatched",
    "profile-service.video-rated": "VideoRated",
    "profile-service.watchlist-updated": "WatchlistUpdated",
    "catalog-service.item-upserted": "ItemUpserted",
    "catalog-service.item-removed": "ItemRemoved",
}
"""Topic → the event on it: NestJS sends bare JSON without saying which event it is."""

PERSONAL_TOPICS: tuple[str, ...] = tuple(
    topic for topic, name in TOPICS.items() if "user_id" in EVENT_TYPES[name].__struct_fields__
)
"""Topics whose records are about people, and have their ids as keys."""

DISTINGUISHING_FIELDS: Mapping[str, str] = {
    "watched_duration": "VideoWatched",
    "rating": "VideoRated",
    "action": "WatchlistUpdated",
    "kind": "ItemInteracted",
}
"""A field that only one event has, for events that do not name themselves."""
