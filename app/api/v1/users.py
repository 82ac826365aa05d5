"""`/api/v1/users`: profiles. People reach their own."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from app.api.dependencies import Caller, TheCall, Uses
from app.api.security import allow, guarded
from app.api.v1.documented import CLOSED, WITH_BODY, problems, router
from app.api.v1.schemas.catalogue import BulkAnswer, BulkUsers, PageParams, UserAnswer, UserBody, UsersAnswer
from app.api.v1.schemas.common import CursorPage, UserIdPath
from app.domain.keys import key_text

routes = router("/api/v1/users", "users")
READ = allow("recs:read", "catalog:write", owner="user_id")
WRITE = allow("catalog:write", owner="user_id")


@routes.get("", operation_id="listUsers", response_model=UsersAnswer, responses=problems(*CLOSED))
@guarded(allow("catalog:write", for_anyone=True))
async def list_users(params: Annotated[PageParams, Query()], uses: Uses, caller: Caller) -> UsersAnswer:
    """Profiles by user id, a page at a time. For services and admins."""
    binding = key_text("users", caller.limit_key)
    after = None if params.cursor is None else uses.cursors.open(binding, params.cursor)
    users = await uses.catalog.list_users(after, params.limit + 1)
    page, has_more = users[: params.limit], len(users) > params.limit
    cursor = uses.cursors.seal(binding, page[-1].user_id) if has_more else None
    pagination = CursorPage(limit=params.limit, has_more=has_more, next_cursor=cursor)
    return UsersAnswer(users=[UserAnswer.of(user) for user in page], pagination=pagination)


@routes.post("/bulk", operation_id="putUsers", response_model=BulkAnswer, responses=problems(*CLOSED, *WITH_BODY))
@guarded(allow("catalog:write", for_anyone=True, is_bulk=True))
async def put_users(body: BulkUsers, uses: Uses, call: TheCall) -> BulkAnswer:
    """Write many profiles in one transaction. For services and admins."""
    now = uses.clock()
    written = await uses.catalog.put_users([entry.user(entry.user_id, now) for entry in body.users])
    return BulkAnswer(received=len(body.users), written=written, request_id=call.request_id)


@routes.get("/{user_id}", operation_id="getUser", response_model=UserAnswer, responses=problems(*CLOSED, 404))
@guarded(READ)
async def get_user(user_id: UserIdPath, uses: Uses) -> UserAnswer:
    """One profile."""
    return UserAnswer.of(await uses.catalog.get_user(user_id))


@routes.put(
    "/{user_id}", operation_id="putUser", response_model=UserAnswer, responses=problems(*CLOSED, *WITH_BODY, 404)
)
@guarded(WRITE)
async def put_user(user_id: UserIdPath, body: UserBody, uses: Uses) -> UserAnswer:
    """Write a profile whole. Answers what is stored then: the newer of the two."""
    user = body.user(user_id, uses.clock())
    if await uses.catalog.put_users([user]):
        return UserAnswer.of(user)
    return UserAnswer.of(await uses.catalog.get_user(user_id))


@routes.delete(
    "/{user_id}", operation_id="deleteUser", status_code=204, response_model=None, responses=problems(*CLOSED, 404)
)
@guarded(WRITE)
async def delete_user(user_id: UserIdPath, uses: Uses) -> Response:
    """Delete a profile and everything the user ever did."""
    await uses.catalog.remove_user(user_id)
    return Response(status_code=204)
