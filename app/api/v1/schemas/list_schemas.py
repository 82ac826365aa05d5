"""Lists: what may be asked of them and what they look like (docs/design.md §5)."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from app.api.v1.schemas.common import (
    Cursor,
    Id,
    Label,
    QueryBool,
    QueryInt,
    QueryShare,
    RequestModel,
    ResponseModel,
)
from app.domain.list_query import Filters
from app.domain.rules import DEFAULT_RERANK, RerankOptions

ListType = Literal["hybrid", "collaborative", "content", "sequential", "popular", "als", "bpr", "lightfm"]
MAX_OFFSET = 1_000
"""As long as the longest list (setting list_size)."""


class FilterParams(RequestModel):
    """The filters of a list, as query parameters."""

    exclude_seen: QueryBool = True
    exclude: Annotated[
        list[Id], Field(max_length=100, description="Items to leave out; repeatable.", default_factory=list)
    ]
    genre: Annotated[list[Label], Field(max_length=20, description="Repeat for alternatives.", default_factory=list)]
    year_min: Annotated[QueryInt, Field(ge=0, le=3_000)] | None = None
    year_max: Annotated[QueryInt, Field(ge=0, le=3_000)] | None = None

    @cached_property
    def filters(self) -> Filters:
        return Filters(
            exclude_seen=self.exclude_seen if "exclude_seen" in self.model_fields_set else None,
            exclude=frozenset(self.exclude),
            genres=frozenset(self.genre),
            year_min=self.year_min,
            year_max=self.year_max,
        )

    @model_validator(mode="after")
    def _years_in_order(self) -> Self:
        if self.year_min is not None and self.year_max is not None and self.year_min > self.year_max:
            raise PydanticCustomError("year_order", "year_min is after year_max")
        return self


class ListParams(FilterParams):
    """Everything `GET /api/v1/recs/{user_id}` may be asked."""

    limit: Annotated[QueryInt, Field(ge=1, le=100)] = 10
    offset: Annotated[
        QueryInt,
        Field(ge=0, le=MAX_OFFSET, description="In the list as it is now: it may have changed since the page before."),
    ] = 0
    cursor: Annotated[
        Cursor | None,
        Field(
            description="From `pagination.next_cursor`, instead of offset: continues the list that began, for an hour."
        ),
    ] = None
    type: ListType = "hybrid"
    experiment_id: Annotated[
        Id | None, Field(description="The experiment that is meant; 404 if it does not run. Changes nobody's arm.")
    ] = None
    variant: Annotated[
        Label | None, Field(description="With experiment_id, for services: look at this arm. Never counted.")
    ] = None
    explain: QueryBool = False
    diversity: Annotated[
        QueryShare | None,
        Field(ge=0, le=1, description="How unlike one another items shall be; default: the setting list_diversity."),
    ] = None

    @cached_property
    def shape(self) -> RerankOptions:
        """DEFAULT_RERANK itself where nothing is asked for: that is what the fast way looks for."""
        return DEFAULT_RERANK if self.diversity is None else RerankOptions(self.diversity)

    @model_validator(mode="after")
    def _one_position(self) -> Self:
        if self.cursor is not None and self.offset:
            raise PydanticCustomError("cursor_and_offset", "give a cursor or an offset")
        return self

    @model_validator(mode="after")
    def _variant_of_something(self) -> Self:
        if self.variant is not None and self.experiment_id is None:
            raise PydanticCustomError("variant_alone", "give the experiment_id too")
        return self

    @cached_property
    def binding(self) -> str:
        """What a cursor for this list is valid for: everything but the position in it."""
        return self.model_dump_json(exclude={"limit", "offset", "cursor"})


LiveId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class LiveParams(FilterParams):
    """Everything that a live list may be asked: the first page, as `GET /api/v1/recs/{user_id}` gives it."""

    limit: Annotated[QueryInt, Field(ge=1, le=100)] = 10
    type: ListType = "hybrid"
    explain: QueryBool = False
    diversity: Annotated[QueryShare | None, Field(ge=0, le=1)] = None
    last_event_id: Annotated[
        LiveId | None,
        Field(
            description="The `id` of the list that is shown already, where the header `Last-Event-ID` cannot be set."
        ),
    ] = None

    @cached_property
    def list_params(self) -> ListParams:
        """The same as parameters of a page."""
        return ListParams(**self.model_dump(exclude={"last_event_id"}, exclude_unset=True))


MULTIPLE = frozenset({"exclude", "genre"})


@lru_cache(maxsize=4_096)
def list_params(query: bytes) -> ListParams | None:
    """The parameters in a raw query string, by the rules of the full route; None where that route must refuse.

    Duplicates have been refused before (hygiene.py). Equal for equal bytes, hence remembered.
    """
    values: dict[str, Any] = {}
    for name, value in parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True):
        if name in MULTIPLE:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    try:
        return ListParams.model_validate(values)
    except ValidationError:
        return None


class SimilarParams(RequestModel):
    """What may be asked of the items like one item."""

    limit: Annotated[QueryInt, Field(ge=1, le=100)] = 10


class PopularParams(RequestModel):
    """What may be asked of the popular items. `window` is a number of hours or days, all time without one."""

    limit: Annotated[QueryInt, Field(ge=1, le=100)] = 10
    genre: Label | None = None
    window: Annotated[str | None, Field(pattern=r"^[1-9][0-9]{0,3}[hd]$", examples=["7d"])] = None

    @property
    def period(self) -> timedelta | None:
        """The window as a time."""
        if self.window is None:
            return None
        number = int(self.window[:-1])
        return timedelta(hours=number) if self.window[-1] == "h" else timedelta(days=number)


class Reason(ResponseModel):
    """Why an item is in the list."""

    kind: Annotated[str, Field(examples=["because_you_watched"])]
    item_id: str | None
    title: str | None
    contribution: float


class Recommendation(ResponseModel):
    """One line of a list."""

    item_id: str
    rank: int
    score: float
    title: str | None
    metadata: dict[str, Any]
    source: Annotated[str, Field(examples=["collaborative"])]
    reasons: list[Reason]
    propensity: Annotated[
        float | None,
        Field(description="With `explain`, in the place that explores: the chance with which this item stands there."),
    ] = None


class Pagination(ResponseModel):
    """Where in the list this page is."""

    total: int
    limit: int
    offset: int
    has_more: bool
    next_cursor: str | None


class ModelName(ResponseModel):
    """The model that answered."""

    id: str
    type: str
    version: int


class Assignment(ResponseModel):
    """The experiment and the variant that the caller is in."""

    id: str
    variant: str


class ListAnswer(ResponseModel):
    """A page of a ranked list."""

    user_id: str | None = None
    item_id: str | None = None
    recommendations: list[Recommendation]
    pagination: Pagination
    model: ModelName | None
    experiment: Assignment | None
    is_fallback: bool
    fallback_reason: str | None
    as_of: datetime
    request_id: str
