"""`/api/v1/items`: the catalog, and lists that start from an item or from everybody."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request, Response

from app.api.dependencies import ContextDep, PrincipalDep, ServicesDep
from app.api.list_responses import to_response
from app.api.preconditions import is_held, refuse_unmatched, tag_of
from app.api.security import require_scopes, with_policy
from app.api.v1.route_docs import BODY_PROBLEMS, CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.catalog_schemas import (
    BulkAnswer,
    BulkItems,
    ItemAnswer,
    ItemBody,
    ItemPatch,
    ItemsAnswer,
    ItemsParams,
)
from app.api.v1.schemas.common import CursorPage, ItemIdPath
from app.api.v1.schemas.list_schemas import ListAnswer, PopularParams, SimilarParams
from app.application.offloading import apart
from app.domain.entities import RESERVED_ITEM_IDS, Item
from app.domain.exceptions import ConflictError, InputError
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
    started = time.perf_counter()
    page = await uses.recommendation.popular(params.genre, params.period, params.limit)
    uses.record(call, "popular", page, started)
    return to_response(uses.user_lists.public(page, None, call, request.scope["headers"]))


@routes.get("", operation_id="listItems", response_model=ItemsAnswer, responses=problem_responses(*CLOSED_PROBLEMS))
@with_policy(READ)
async def list_items(params: Annotated[ItemsParams, Query()], uses: ServicesDep, caller: PrincipalDep) -> ItemsAnswer:
    """The catalog by item id, a page at a time; with `search`, what has these words in its title or id."""
    binding = key_text("items", caller.limit_key, params.search)
    after = None if params.cursor is None else uses.cursors.open(binding, params.cursor)
    items = await uses.catalog.list_items(after, params.limit + 1, params.search)
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
async def put_items(body: BulkItems, uses: ServicesDep, call: ContextDep, request: Request) -> BulkAnswer:
    """Write many entries in one transaction. An entry older than the stored one loses silently."""
    items = await apart(len(await request.body()), items_of, body, uses.clock())
    written = await uses.catalog.put_items(items)
    return BulkAnswer(received=len(body.items), written=written, request_id=call.request_id)


@routes.get(
    "/{item_id}",
    operation_id="getItem",
    response_model=ItemAnswer,
    responses={**problem_responses(*CLOSED_PROBLEMS, 404), 304: {"description": "The entry is the one you have."}},
)
@with_policy(READ)
async def get_item(item_id: ItemIdPath, uses: ServicesDep, request: Request, response: Response) -> Any:
    """One entry of the catalog, with a strong `ETag`."""
    item = await uses.catalog.get_item(item_id)
    if is_held(request.scope["headers"], item):
        return Response(status_code=304, headers={"etag": tag_of(item)})
    return shown(item, response)


@routes.put(
    "/{item_id}",
    operation_id="putItem",
    response_model=ItemAnswer,
    responses={
        **problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 404, 409, 412),
        201: {"model": ItemAnswer, "description": "The entry is new."},
    },
)
@with_policy(WRITE)
async def put_item(
    item_id: ItemIdPath, body: ItemBody, uses: ServicesDep, request: Request, response: Response
) -> ItemAnswer:
    """Write an entry whole; lists know it within a second. Answers what is stored then: the newer of the two.

    201 if there was none. With `If-Match` or `If-None-Match` only what is there as the caller has seen it is written
    over, else 412. 409 if it was removed later than this entry was made.
    """
    seen = await uses.catalog.find_item(item_id)
    await write(uses, request, seen, body.item(item_id, uses.clock()))
    stored = await uses.catalog.find_item(item_id)
    if stored is None:
        raise ConflictError("removed later than this was made")
    response.status_code = 201 if seen is None else 200
    return shown(stored, response)


@routes.patch(
    "/{item_id}",
    operation_id="patchItem",
    response_model=ItemAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 404, 412),
)
@with_policy(WRITE)
async def patch_item(
    item_id: ItemIdPath, body: ItemPatch, uses: ServicesDep, request: Request, response: Response
) -> ItemAnswer:
    """Change some fields: what is absent stays, null empties. `If-Match` as with PUT."""
    seen = await uses.catalog.get_item(item_id)
    await write(uses, request, seen, body.applied_to(seen, uses.clock()))
    return shown(await uses.catalog.get_item(item_id), response)


@routes.delete(
    "/{item_id}",
    operation_id="deleteItem",
    status_code=204,
    response_model=None,
    responses=problem_responses(*CLOSED_PROBLEMS, 404, 412),
)
@with_policy(WRITE)
async def delete_item(item_id: ItemIdPath, uses: ServicesDep, request: Request) -> Response:
    """Take an item out of the catalog and of every list; its interactions stay. `If-Match` as with PUT."""
    refuse_unmatched(request.scope["headers"], await uses.catalog.get_item(item_id))
    await uses.catalog.remove_item(item_id)
    return Response(status_code=204)


async def write(uses: ServicesDep, request: Request, seen: Item | None, item: Item) -> None:
    """Write an entry; where the request names conditions, over nothing but `seen`. Raises PreconditionError."""
    if refuse_unmatched(request.scope["headers"], seen):
        await uses.catalog.replace_item(seen, item)
    else:
        await uses.catalog.put_items([item])


def shown(item: Item, response: Response) -> ItemAnswer:
    """The entry as the answer, and its tag in the headers."""
    response.headers["etag"] = tag_of(item)
    return ItemAnswer.of(item)


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
    started = time.perf_counter()
    page = await uses.recommendation.similar(item_id, params.limit)
    uses.record(call, "similar", page, started)
    return to_response(uses.user_lists.public(page, ("item_id", item_id), call, request.scope["headers"]))


def items_of(body: BulkItems, now: datetime) -> list[Item]:
    """The entries of a body. Raises InputError for an id that is a path word."""
    for entry in body.items:
        refuse_reserved(entry.item_id)
    return [entry.item(entry.item_id, now) for entry in body.items]


def refuse_reserved(item_id: str) -> None:
    """Raise InputError for an id that is a path word."""
    if item_id in RESERVED_ITEM_IDS:
        raise InputError("a reserved word", "item_id")
