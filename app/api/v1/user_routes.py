"""`/api/v1/users`: profiles. People reach their own."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from app.api.dependencies import ContextDep, PrincipalDep, ServicesDep
from app.api.security import Principal, require_scopes, with_policy
from app.api.v1.route_docs import BODY_PROBLEMS, CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.catalog_schemas import (
    BulkAnswer,
    BulkUsers,
    HistoryAnswer,
    HistoryEntryAnswer,
    HistoryParams,
    PageParams,
    UserAnswer,
    UserBody,
    UsersAnswer,
)
from app.api.v1.schemas.common import CursorPage, UserIdPath
from app.api.v1.schemas.erasure_schemas import ErasureAnswer
from app.domain.keys import key_text

routes = router("/api/v1/users", "users")
READ = require_scopes("recs:read", "catalog:write", owner="user_id")
WRITE = require_scopes("catalog:write", owner="user_id")


@routes.get("", operation_id="listUsers", response_model=UsersAnswer, responses=problem_responses(*CLOSED_PROBLEMS))
@with_policy(require_scopes("catalog:write", for_anyone=True))
async def list_users(params: Annotated[PageParams, Query()], uses: ServicesDep, caller: PrincipalDep) -> UsersAnswer:
    """Profiles by user id, a page at a time. For services and admins."""
    binding = key_text("users", caller.limit_key)
    after = None if params.cursor is None else uses.cursors.open(binding, params.cursor)
    users = await uses.catalog.list_users(after, params.limit + 1)
    page, has_more = users[: params.limit], len(users) > params.limit
    cursor = uses.cursors.seal(binding, page[-1].user_id) if has_more else None
    pagination = CursorPage(limit=params.limit, has_more=has_more, next_cursor=cursor)
    return UsersAnswer(users=[UserAnswer.of(user) for user in page], pagination=pagination)


@routes.post(
    "/bulk",
    operation_id="putUsers",
    response_model=BulkAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS),
)
@with_policy(require_scopes("catalog:write", for_anyone=True, is_bulk=True))
async def put_users(body: BulkUsers, uses: ServicesDep, call: ContextDep) -> BulkAnswer:
    """Write many profiles in one transaction. For services and admins."""
    now = uses.clock()
    written = await uses.catalog.put_users([entry.user(entry.user_id, now) for entry in body.users])
    return BulkAnswer(received=len(body.users), written=written, request_id=call.request_id)


@routes.get(
    "/{user_id}", operation_id="getUser", response_model=UserAnswer, responses=problem_responses(*CLOSED_PROBLEMS, 404)
)
@with_policy(READ)
async def get_user(user_id: UserIdPath, uses: ServicesDep) -> UserAnswer:
    """One profile."""
    return UserAnswer.of(await uses.catalog.get_user(user_id))


@routes.get(
    "/{user_id}/history",
    operation_id="getUserHistory",
    response_model=HistoryAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404),
)
@with_policy(require_scopes("recs:read", owner="user_id"))
async def get_user_history(
    user_id: UserIdPath, params: Annotated[HistoryParams, Query()], uses: ServicesDep
) -> HistoryAnswer:
    """What the user's list is ranked from, newest first; nothing of somebody nobody knows."""
    found = await uses.histories.read(user_id, params.limit)
    return HistoryAnswer(user_id=user_id, history=[HistoryEntryAnswer.of(entry) for entry in found])


@routes.put(
    "/{user_id}",
    operation_id="putUser",
    response_model=UserAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 404),
)
@with_policy(WRITE)
async def put_user(user_id: UserIdPath, body: UserBody, uses: ServicesDep) -> UserAnswer:
    """Write a profile whole. Answers what is stored then: the newer of the two."""
    user = body.user(user_id, uses.clock())
    if await uses.catalog.put_users([user]):
        return UserAnswer.of(user)
    return UserAnswer.of(await uses.catalog.get_user(user_id))


@routes.delete(
    "/{user_id}",
    operation_id="deleteUser",
    status_code=202,
    response_model=ErasureAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, 404),
)
@with_policy(WRITE)
async def delete_user(
    user_id: UserIdPath, uses: ServicesDep, caller: PrincipalDep, response: Response
) -> ErasureAnswer:
    """Forget a user: profile, everything the user ever did, lists shown, and what waits or is cached anywhere.

    The tables are cleared before the answer; `GET /api/v1/erasures/{erasure_id}` shows the rest and the certificate.
    """
    erasure = await uses.erasures.order([user_id], actor_of(caller, user_id), only_known=True)
    response.headers["location"] = f"/api/v1/erasures/{erasure.erasure_id}"
    response.headers["retry-after"] = "1"
    return ErasureAnswer.of(erasure)


def actor_of(caller: Principal, user_id: str) -> str:
    """Who gave the order; whoever is forgotten is not named."""
    if caller.is_service:
        return f"key:{caller.subject}"
    return "user:self" if caller.subject == user_id else f"user:{caller.subject}"
