"""Items and user profiles over the wire. Bounds are those of the catalog events (event_types.py)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue

from app.api.v1.schemas.common import (
    TEXT_PATTERN,
    Cursor,
    CursorPage,
    Flag,
    Id,
    Label,
    Moment,
    QueryInt,
    RequestModel,
    ResponseModel,
)
from app.application.recommending.user_histories import HistoryEntry
from app.domain.entities import Item, User

MAX_BULK = 1_000
"""Items or users in one request: one transaction of some milliseconds."""

MAX_ATTRIBUTES_BYTES = 16_384


def _bounded(attributes: dict[str, Any]) -> dict[str, Any]:
    """Refuse attributes too large or too deep to keep."""
    try:
        size = len(json.dumps(attributes, allow_nan=False))
    except (ValueError, RecursionError):
        raise ValueError("not plain JSON") from None
    if size > MAX_ATTRIBUTES_BYTES:
        raise ValueError("too large")
    return attributes


Title = Annotated[str, Field(max_length=500, pattern=TEXT_PATTERN)]
Description = Annotated[str, Field(max_length=20_000, pattern=TEXT_PATTERN)]
Year = Annotated[int, Field(strict=True, ge=0, le=3_000)]
Genres = Annotated[list[Label], Field(max_length=50)]
Tags = Annotated[list[Label], Field(max_length=200)]
CLOSED: dict[str, JsonValue] = {"additionalProperties": False}
"""Names that the pattern does not allow are refused: the document says so too."""

Attributes = Annotated[dict[Label, Any], Field(max_length=64, json_schema_extra=CLOSED), AfterValidator(_bounded)]
ProfileValue = (
    Annotated[str, Field(max_length=1_000, pattern=TEXT_PATTERN)]
    | Annotated[float, Field(strict=True, allow_inf_nan=False)]
)
Profile = Annotated[dict[Label, ProfileValue], Field(max_length=64, json_schema_extra=CLOSED)]


class ItemBody(RequestModel):
    """A catalog entry, whole. `updated_at` decides between two (newest wins); absent means now."""

    title: Annotated[Title | None, Field(examples=["Alien"])] = None
    description: Description | None = None
    genres: Annotated[Genres, Field(default_factory=list, examples=[["science fiction", "horror"]])]
    tags: Annotated[Tags, Field(default_factory=list)]
    year: Annotated[Year | None, Field(examples=[1979])] = None
    published_at: Moment | None = None
    available: Flag = True
    available_from: Moment | None = None
    available_until: Moment | None = None
    attributes: Annotated[Attributes, Field(default_factory=dict)]
    updated_at: Moment | None = None

    def item(self, item_id: str, now: datetime) -> Item:
        """The entry this body describes."""
        published = self.published_at
        return Item(
            item_id=item_id,
            updated_at=self.updated_at or now,
            title=self.title,
            description=self.description,
            genres=tuple(dict.fromkeys(self.genres)),
            tags=tuple(dict.fromkeys(self.tags)),
            year=self.year if self.year is not None or published is None else published.year,
            published_at=published,
            available=self.available,
            available_from=self.available_from,
            available_until=self.available_until,
            attributes=self.attributes,
        )


class ItemPatch(RequestModel):
    """Fields to change (RFC 7396): what is absent stays, null empties."""

    title: Title | None = None
    description: Description | None = None
    genres: Genres | None = None
    tags: Tags | None = None
    year: Year | None = None
    published_at: Moment | None = None
    available: Flag | None = None
    available_from: Moment | None = None
    available_until: Moment | None = None
    attributes: Attributes | None = None

    def applied_to(self, item: Item, now: datetime) -> Item:
        """The entry after the change."""
        changes = self.model_dump(exclude_unset=True)
        for name in ("genres", "tags"):
            if name in changes:
                changes[name] = tuple(dict.fromkeys(changes[name] or ()))
        if "available" in changes:
            changes["available"] = changes["available"] is not False
        if "attributes" in changes:
            changes["attributes"] = changes["attributes"] or {}
        kept = {name: getattr(item, name) for name in Item.__dataclass_fields__ if name not in changes}
        return Item(**{**kept, **changes, "updated_at": max(now, item.updated_at)})


class BulkItem(ItemBody):
    """One entry of many."""

    item_id: Id


class BulkItems(RequestModel):
    """Many entries in one transaction."""

    items: Annotated[list[BulkItem], Field(min_length=1, max_length=MAX_BULK)]


class UserBody(RequestModel):
    """A profile, whole. `attributes` are flat: name → text or number."""

    attributes: Annotated[Profile, Field(default_factory=dict, examples=[{"country": "NL", "age": 34}])]
    updated_at: Moment | None = None

    def user(self, user_id: str, now: datetime) -> User:
        """The profile this body describes."""
        return User(user_id=user_id, updated_at=self.updated_at or now, attributes=self.attributes)


class BulkUser(UserBody):
    """One profile of many."""

    user_id: Id


class BulkUsers(RequestModel):
    """Many profiles in one transaction."""

    users: Annotated[list[BulkUser], Field(min_length=1, max_length=MAX_BULK)]


class PageParams(RequestModel):
    """A page of a keyset listing."""

    limit: Annotated[QueryInt, Field(ge=1, le=100)] = 50
    cursor: Cursor | None = None


class ItemsParams(PageParams):
    """A page of the catalog, or of what has these words in its title or id."""

    search: Annotated[
        str, Field(max_length=100, pattern=TEXT_PATTERN, description="Words of a title or id; a cursor belongs to one.")
    ] = ""


class ItemAnswer(ResponseModel):
    """A catalog entry."""

    item_id: str
    title: str | None
    description: str | None
    genres: list[str]
    tags: list[str]
    year: int | None
    published_at: datetime | None
    available: bool
    available_from: datetime | None
    available_until: datetime | None
    attributes: dict[str, Any]
    updated_at: datetime

    @classmethod
    def of(cls, item: Item) -> ItemAnswer:
        values = {name: getattr(item, name) for name in cls.model_fields}
        return cls(**{**values, "genres": list(item.genres), "tags": list(item.tags)})


class ItemsAnswer(ResponseModel):
    """A page of the catalog, by item id."""

    items: list[ItemAnswer]
    pagination: CursorPage


class UserAnswer(ResponseModel):
    """A user profile."""

    user_id: str
    attributes: dict[str, Any]
    updated_at: datetime

    @classmethod
    def of(cls, user: User) -> UserAnswer:
        return cls(user_id=user.user_id, attributes=dict(user.attributes), updated_at=user.updated_at)


class UsersAnswer(ResponseModel):
    """A page of profiles, by user id."""

    users: list[UserAnswer]
    pagination: CursorPage


class BulkAnswer(ResponseModel):
    """What became of a bulk write: an entry older than the stored one loses."""

    received: int
    written: int
    request_id: str


class HistoryParams(RequestModel):
    """How much of a history."""

    limit: Annotated[QueryInt, Field(ge=1, le=200)] = 50


class HistoryEntryAnswer(ResponseModel):
    """One item of it. `weight`: as ranking uses it, negative for dislikes; 0: seen, and nothing more."""

    item_id: str
    title: str | None
    weight: float
    at: datetime

    @classmethod
    def of(cls, entry: HistoryEntry) -> HistoryEntryAnswer:
        return cls(item_id=entry.item_id, title=entry.title, weight=entry.weight, at=entry.at)


class HistoryAnswer(ResponseModel):
    """What a list is ranked from."""

    user_id: str
    history: list[HistoryEntryAnswer]
