"""`/api/v1/items`: the catalog, and lists that start from an item or from everybody."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from app.api.dependencies import ContextDep, PrincipalDep, ServicesDep
from app.api.list_responses import to_response
from app.api.security import require_scopes, with_policy
from app.api.v1.route_docs import BODY_PROBLEMS, CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.catalog_schemas import (
    BulkAnswer,
    BulkItems,
    ItemAnswer,
    ItemBody,
    ItemPatch,
    ItemsAnswer,
    PageParams,
)
from app.api.v1.schemas.common import CursorPage, ItemIdPath
from app.api.v1.schemas.list_schemas import ListAnswer, PopularParams, SimilarParams
from app.domain.entities import RESERVED_ITEM_IDS
from app.domain.exceptions import ConflictError, InputError, NotFoundError
from app.domain.keys import key_text

routes = router("/api/v1/items", "items")
READ = require_scopes("recs:read", "catalog:write")
WRITE = require_scopes("catalog:write")


@routes.get(
    "/popular",
    operation_id="listPopularItems",
    response_model=ListAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS),
)
@with_policy(READ)
async def list_popular_items(
    params: Annotated[PopularParams, Query()], uses: ServicesDep, call: ContextDep, request: Request
) -> Response:
    """What most people use: in all, of one genre, or lately (`window`)."""
    page = await uses.recommendation.popular(params.genre, params.period, params.limit)
    return to_response(uses.user_lists.public(page, None, call, request.scope["headers"]))


@routes.get("", operation_id="listItems", response_model=ItemsAnswer, responses=problem_responses(*CLOSED_PROBLEMS))
@with_policy(READ)
async def list_items(params: Annotated[PageParams, Query()], uses: ServicesDep, caller: PrincipalDep) -> ItemsAnswer:
    """The catalog by item id, a page at a time."""
    binding = key_text("items", caller.limit_key)
    after = None if params.cursor is None else uses.cursors.open(binding, params.cursor)
    items = await uses.catalog.list_items(after, params.limit + 1)
    page, has_more = items[: params.limit], len(items) > params.limit
    cursor = uses.cursors.seal(binding, page[-1].item_id) if has_more else None
    pagination = CursorPage(limit=params.limit, has_more=has_more, next_cursor=cursor)
    return ItemsAnswer(items=[ItemAnswer.of(item) for item in page], pagination=pagination)


@routes.post(
    "/bulk",
    operation_id="putItems",
    response_model=BulkAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS),
)
@with_policy(require_scopes("catalog:write", is_bulk=True))
async def put_items(body: BulkItems, uses: ServicesDep, call: ContextDep) -> BulkAnswer:
    """Write many entries in one transaction. An entry older than the stored one loses silently."""
    now = uses.clock()
    for entry in body.items:
        refuse_reserved(entry.item_id)
    written = await uses.catalog.put_items([entry.item(entry.item_id, now) for entry in body.items])
    return BulkAnswer(received=len(body.items), written=written, request_id=call.request_id)


@routes.get(
    "/{item_id}", operation_id="getItem", response_model=ItemAnswer, responses=problem_responses(*CLOSED_PROBLEMS, 404)
)
@with_policy(READ)
async def get_item(item_id: ItemIdPath, uses: ServicesDep) -> ItemAnswer:
    """One entry of the catalog."""
    return ItemAnswer.of(await uses.catalog.get_item(item_id))


@routes.put(
    "/{item_id}",
    operation_id="putItem",
    response_model=ItemAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 404, 409),
)
@with_policy(WRITE)
async def put_item(item_id: ItemIdPath, body: ItemBody, uses: ServicesDep) -> ItemAnswer:
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
    "/{item_id}",
    operation_id="patchItem",
    response_model=ItemAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 404),
)
@with_policy(WRITE)
async def patch_item(item_id: ItemIdPath, body: ItemPatch, uses: ServicesDep) -> ItemAnswer:
    """Change some fields: what is absent stays, null empties."""
    item = body.applied_to(await uses.catalog.get_item(item_id), uses.clock())
    await uses.catalog.put_items([item])
    return ItemAnswer.of(item)


@routes.delete(
    "/{item_id}",
    operation_id="deleteItem",
    status_code=204,
    response_model=None,
    responses=problem_responses(*CLOSED_PROBLEMS, 404),
)
@with_policy(WRITE)
async def delete_item(item_id: ItemIdPath, uses: ServicesDep) -> Response:
    """Take an item out of the catalog and of every list; its interactions stay."""
    await uses.catalog.remove_item(item_id)
    return Response(status_code=204)


@routes.get(
    "/{item_id}/similar",
    operation_id="listSimilarItems",
    response_model=ListAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404),
)
@with_policy(READ)
async def list_similar_items(
    item_id: ItemIdPath,
    params: Annotated[SimilarParams, Query()],
    uses: ServicesDep,
    call: ContextDep,
    request: Request,
) -> Response:
    """Items like this one."""
    page = await uses.recommendation.similar(item_id, params.limit)
    return to_response(uses.user_lists.public(page, ("item_id", item_id), call, request.scope["headers"]))


def refuse_reserved(item_id: str) -> None:
    """Raise InputError for an id that is a path word."""
    if item_id in RESERVED_ITEM_IDS:
        raise InputError("a reserved word", "item_id")
