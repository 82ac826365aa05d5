"""The books system: lists, and the events of checkout, inventory and user service (docs/migrate-books.md)."""

from __future__ import annotations

from typing import Annotated
from uuid import uuid5

from fastapi import Query
from pydantic import ConfigDict, Field, JsonValue

from app.api.compat.answers import OffsetPage, card_of, with_example
from app.api.dependencies import ContextDep, PrincipalDep, Services, ServicesDep
from app.api.security import require_scopes, with_policy
from app.api.v1.event_routes import refuse_if_none
from app.api.v1.route_docs import BODY_PROBLEMS, CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.catalog_schemas import ItemPatch, UserBody
from app.api.v1.schemas.common import (
    Flag,
    Id,
    Label,
    Moment,
    QueryInt,
    QueryShare,
    RequestModel,
    ResponseModel,
    UserIdPath,
)
from app.api.v1.schemas.list_schemas import MAX_OFFSET, ListParams
from app.application.ingestion.event_decoding import EVENT_NAMESPACE
from app.domain.entities import IngestOutcome, Item, Kind
from app.domain.exceptions import ConflictError, PreconditionError
from app.domain.keys import key_text

routes = router("", "compat: books")

MAX_LINES = 500
"""Books in one order."""

_ATTEMPTS = 3
"""Inventory changes are small changes of an entry that others may be changing, too."""

_LIST = {
    "user_id": "u1",
    "recommendations": [{"book_id": "b7", "title": "Dune", "score": 0.83}],
    "pagination": {"total": 100, "limit": 20, "offset": 0, "has_more": True},
}
_ORDER: dict[str, JsonValue] = {
    "order_id": "o-1001",
    "user_id": "u1",
    "items": [{"book_id": "b7", "quantity": 1}],
    "timestamp": "2026-11-21T08:30:00Z",
}


class BookParams(RequestModel):
    """A page of a list by place."""

    limit: Annotated[QueryInt, Field(ge=1, le=100)] = 20
    offset: Annotated[QueryInt, Field(ge=0, le=MAX_OFFSET)] = 0
    genre: Annotated[list[Label], Field(max_length=20, description="Repeat for alternatives.", default_factory=list)]
    diversity: Annotated[QueryShare | None, Field(ge=0, le=1, description="Default: the setting list_diversity.")] = (
        None
    )

    @property
    def params(self) -> ListParams:
        """The same as the parameters of a list."""
        return ListParams.model_validate(self.model_dump(exclude_none=True))


class Book(ResponseModel):
    """One line of a list."""

    book_id: str
    title: str | None
    score: float


class BookList(ResponseModel):
    """A page of a user's list: books that can be bought now."""

    user_id: str
    recommendations: list[Book]
    pagination: OffsetPage


class OrderLine(RequestModel):
    """One book of an order."""

    book_id: Id
    quantity: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 1


class Order(RequestModel):
    """An order that was paid for. The same order told again changes nothing."""

    model_config = ConfigDict(json_schema_extra={"example": _ORDER})

    order_id: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,128}$")]
    user_id: Id
    items: Annotated[list[OrderLine], Field(min_length=1, max_length=MAX_LINES)]
    timestamp: Moment

    def events(self) -> list[dict[str, object]]:
        """One purchase per book: ItemInteracted, known by order and book."""
        return [
            {
                "event_id": str(uuid5(EVENT_NAMESPACE, key_text("order", self.order_id, line.book_id))),
                "user_id": self.user_id,
                "item_id": line.book_id,
                "kind": Kind.PURCHASE.value,
                "timestamp": self.timestamp.isoformat(),
            }
            for line in {line.book_id: line for line in self.items}.values()
        ]


class EventAnswer(ResponseModel):
    """What became of an event."""

    accepted: int
    duplicates: int = 0


class Stock(RequestModel):
    """How it stands with one book. Changes count in the order in which they arrive."""

    model_config = ConfigDict(json_schema_extra={"example": {"book_id": "b7", "in_stock": False}})

    book_id: Id
    in_stock: Flag


class Profile(UserBody):
    """A profile of the user service, whole."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"user_id": "u1", "attributes": {"country": "NL", "favourite": "crime|travel"}}}
    )

    user_id: Id


@routes.get(
    "/users/{user_id}/recommendations",
    operation_id="booksRecommendations",
    response_model=BookList,
    responses={**with_example(_LIST), **problem_responses(*CLOSED_PROBLEMS, 404)},
)
@with_policy(require_scopes("recs:read", owner="user_id"))
async def recommendations(
    user_id: UserIdPath, params: Annotated[BookParams, Query()], uses: ServicesDep, call: ContextDep
) -> BookList:
    """A user's list of books: what `GET /api/v1/recs/{user_id}` gives."""
    page, _ = await uses.user_lists.page(user_id, params.params, call)
    lines = [
        Book(book_id=item.item_id, title=card_of(item)["title"], score=round(item.score, 6)) for item in page.items
    ]
    return BookList(user_id=user_id, recommendations=lines, pagination=OffsetPage.of(page))


@routes.post(
    "/events/purchases",
    operation_id="booksPurchase",
    status_code=202,
    response_model=EventAnswer,
    responses={
        **with_example({"accepted": 1, "duplicates": 0}, 202),
        **problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 409),
    },
)
@with_policy(require_scopes("events:write", for_anyone=True))
async def purchase(body: Order, uses: ServicesDep, call: ContextDep, caller: PrincipalDep) -> EventAnswer:
    """An order from checkout: one `purchase` per book, taken as by `POST /api/v1/events`; each counts as a request."""
    events = body.events()
    if len(events) > 1:
        call.quota = await uses.limiter.hit(caller.limit_key, caller.is_service, len(events) - 1)
    outcomes = await uses.events.ingest(events)
    refuse_if_none(outcomes)
    found = [one.outcome for one in outcomes]
    return EventAnswer(accepted=found.count(IngestOutcome.ACCEPTED), duplicates=found.count(IngestOutcome.DUPLICATE))


@routes.post(
    "/events/inventory",
    operation_id="booksInventory",
    status_code=202,
    response_model=EventAnswer,
    responses={
        **with_example({"accepted": 1, "duplicates": 0}, 202),
        **problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 404, 409),
    },
)
@with_policy(require_scopes("catalog:write"))
async def inventory(body: Stock, uses: ServicesDep) -> EventAnswer:
    """Sold out, or there again: `available` of the catalog entry. Lists leave out what is sold out at once."""
    for _ in range(_ATTEMPTS):
        seen = await uses.catalog.get_item(body.book_id)
        if seen.available is body.in_stock:
            return EventAnswer(accepted=0, duplicates=1)
        if await _stocked(uses, seen, in_stock=body.in_stock):
            return EventAnswer(accepted=1)
    raise ConflictError("others keep changing this entry")


async def _stocked(uses: Services, seen: Item, *, in_stock: bool) -> bool:
    """Write the change over `seen`; False if somebody else was faster."""
    try:
        await uses.catalog.replace_item(seen, ItemPatch(available=in_stock).applied_to(seen, uses.clock()))
    except PreconditionError:
        return False
    return True


@routes.post(
    "/events/profiles",
    operation_id="booksProfile",
    status_code=202,
    response_model=EventAnswer,
    responses={
        **with_example({"accepted": 1, "duplicates": 0}, 202),
        **problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS),
    },
)
@with_policy(require_scopes("catalog:write", for_anyone=True))
async def profile(body: Profile, uses: ServicesDep) -> EventAnswer:
    """A profile from the user service, as `PUT /api/v1/users/{user_id}` takes it. An older one than is stored loses."""
    written = await uses.catalog.put_users([body.user(body.user_id, uses.clock())])
    return EventAnswer(accepted=written, duplicates=1 - written)
