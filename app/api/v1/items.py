"""`/api/v1/items`: the catalogue, and lists that start from an item or from everybody."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from app.api.dependencies import Caller, TheCall, Uses
from app.api.lists import response_of
from app.api.security import allow, guarded
from app.api.v1.documented import CLOSED, WITH_BODY, problems, router
from app.api.v1.schemas.catalogue import (
    BulkAnswer,
    BulkItems,
    ItemAnswer,
    ItemBody,
    ItemPatch,
    ItemsAnswer,
    PageParams,
)
from app.api.v1.schemas.common import CursorPage, ItemIdPath
from app.api.v1.schemas.lists import ListAnswer, PopularParams, SimilarParams
from app.domain.exceptions import ConflictError, InputError, NotFoundError
from app.domain.keys import key_text
from app.domain.models import RESERVED_ITEM_IDS

routes = router("/api/v1/items", "items")
READ = allow("recs:read", "catalog:write")
WRITE = allow("catalog:write")


@routes.get("/popular", operation_id="listPopularItems", response_model=ListAnswer, responses=problems(*CLOSED))
@guarded(READ)
async def list_popular_items(
    params: Annotated[PopularParams, Query()], uses: Uses, call: TheCall, request: Request
) -> Response:
    """What most people use: in all, of one genre, or lately (`window`)."""
    page = await uses.recommendation.popular(params.genre, params.period, params.limit)
    return response_of(uses.user_lists.public(page, None, call, request.scope["headers"]))


@routes.get("", operation_id="listItems", response_model=ItemsAnswer, responses=problems(*CLOSED))
@guarded(READ)
async def list_items(params: Annotated[PageParams, Query()], uses: Uses, caller: Caller) -> ItemsAnswer:
    """The catalogue by item id, a page at a time."""
    binding = key_text("items", caller.limit_key)
    after = None if params.cursor is None else uses.cursors.open(binding, params.cursor)
    items = await uses.catalog.list_items(after, params.limit + 1)
    page, has_more = items[: params.limit], len(items) > params.limit
    cursor = uses.cursors.seal(binding, page[-1].item_id) if has_more else None
    pagination = CursorPage(limit=params.limit, has_more=has_more, next_cursor=cursor)
    return ItemsAnswer(items=[ItemAnswer.of(item) for item in page], pagination=pagination)


@routes.post("/bulk", operation_id="putItems", response_model=BulkAnswer, responses=problems(*CLOSED, *WITH_BODY))
@guarded(allow("catalog:write", is_bulk=True))
async def put_items(body: BulkItems, uses: Uses, call: TheCall) -> BulkAnswer:
    """Write many entries in one transaction. An entry older than the stored one loses silently."""
    now = uses.clock()
    for entry in body.items:
        refuse_reserved(entry.item_id)
    written = await uses.catalog.put_items([entry.item(entry.item_id, now) for entry in body.items])
    return BulkAnswer(received=len(body.items), written=written, request_id=call.request_id)


@routes.get("/{item_id}", operation_id="getItem", response_model=ItemAnswer, responses=problems(*CLOSED, 404))
@guarded(READ)
async def get_item(item_id: ItemIdPath, uses: Uses) -> ItemAnswer:
    """One entry of the catalogue."""
    return ItemAnswer.of(await uses.catalog.get_item(item_id))


@routes.put(
    "/{item_id}", operation_id="putItem", response_model=ItemAnswer, responses=problems(*CLOSED, *WITH_BODY, 404, 409)
)
@guarded(WRITE)
async def put_item(item_id: ItemIdPath, body: ItemBody, uses: Uses) -> ItemAnswer:
    """Write an entry whole; lists know it within a second. Answers what is stored then: the newer of the two.

    409 if it was removed later than this entry was made.
    """
    item = body.item(item_id, uses.clock())
    if await uses.catalog.put_items([item]):
        return ItemAnswer.of(item)
    try:
        return ItemAnswer.of(await uses.catalog.get_item(item_id))
    except NotFoundError:
        raise ConflictError("removed later than this was made") from None


@routes.patch(
    "/{item_id}", operation_id="patchItem", response_model=ItemAnswer, responses=problems(*CLOSED, *WITH_BODY, 404)
)
@guarded(WRITE)
async def patch_item(item_id: ItemIdPath, body: ItemPatch, uses: Uses) -> ItemAnswer:
    """Change some fields: what is absent stays, null empties."""
    item = body.applied_to(await uses.catalog.get_item(item_id), uses.clock())
    await uses.catalog.put_items([item])
    return ItemAnswer.of(item)


@routes.delete(
    "/{item_id}", operation_id="deleteItem", status_code=204, response_model=None, responses=problems(*CLOSED, 404)
)
@guarded(WRITE)
async def delete_item(item_id: ItemIdPath, uses: Uses) -> Response:
    """Take an item out of the catalogue and of every list; its interactions stay."""
    await uses.catalog.remove_item(item_id)
    return Response(status_code=204)


@routes.get(
    "/{item_id}/similar",
    operation_id="listSimilarItems",
    response_model=ListAnswer,
    responses=problems(*CLOSED, 404),
)
@guarded(READ)
async def list_similar_items(
    item_id: ItemIdPath, params: Annotated[SimilarParams, Query()], uses: Uses, call: TheCall, request: Request
) -> Response:
    """Items like this one."""
    page = await uses.recommendation.similar(item_id, params.limit)
    return response_of(uses.user_lists.public(page, ("item_id", item_id), call, request.scope["headers"]))


def refuse_reserved(item_id: str) -> None:
    """Raise InputError for an id that is a path word."""
    if item_id in RESERVED_ITEM_IDS:
        raise InputError("a reserved word", "item_id")
