"""`/api/v1/recs`: lists for users and for anonymous sessions."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Query, Request, Response

from app.api.dependencies import ContextDep, ServicesDep
from app.api.list_responses import public_response, to_response
from app.api.security import require_scopes, with_policy
from app.api.v1.route_docs import BODY_PROBLEMS, CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.common import UserIdPath
from app.api.v1.schemas.list_schemas import ListAnswer, ListParams, SessionBody, SessionItem
from app.api.v1.schemas.rule_schemas import RuledBody
from app.domain.list_query import Filters, ListQuery, SessionEvent, SessionQuery

routes = router("/api/v1/recs", "lists")

LIST_POLICY = require_scopes("recs:read", owner="user_id")
"""Who may read a user's list, on the route and on the fast lane."""


@routes.post(
    "/session",
    operation_id="recommendForSession",
    response_model=ListAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS),
)
@with_policy(require_scopes("recs:read"))
async def recommend_for_session(body: SessionBody, uses: ServicesDep, call: ContextDep, request: Request) -> Response:
    """A list for somebody without an id: the history travels in the request, newest first; nothing of it is kept."""
    history = tuple(
        SessionEvent(entry.item_id, entry.weight) if isinstance(entry, SessionItem) else SessionEvent(entry)
        for entry in body.history
    )
    exclude_seen = body.exclude_seen if "exclude_seen" in body.model_fields_set else None
    filters = Filters(exclude_seen, frozenset(body.exclude), frozenset(body.genres), body.year_min, body.year_max)
    started = time.perf_counter()
    page = await uses.recommendation.session(SessionQuery(history, body.type, body.limit, filters, body.explain))
    uses.record(call, "session", page, started)
    return to_response(public_response(page, None, call, ()))


@routes.get(
    "/{user_id}",
    operation_id="recommendForUser",
    response_model=ListAnswer,
    responses={**problem_responses(*CLOSED_PROBLEMS, 404), 304: {"description": "The list is the one you have."}},
)
@with_policy(LIST_POLICY)
async def recommend_for_user(
    user_id: UserIdPath, params: Annotated[ListParams, Query()], uses: ServicesDep, call: ContextDep, request: Request
) -> Response:
    """A user's list: ranked, filtered, and never an error for a user nobody knows (a fallback list says so)."""
    answer = await uses.user_lists.answer(user_id, params, call, request.scope["headers"])
    return to_response(answer)


LIST_ROUTE = routes.routes[-1]
"""The route above, for the fast lane: its template stands in metrics, whichever way an answer took."""


@routes.post(
    "/{user_id}",
    operation_id="recommendByRules",
    response_model=ListAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 404),
)
@with_policy(require_scopes("recs:read", owner="user_id", for_anyone=True))
async def recommend_by_rules(
    user_id: UserIdPath, body: RuledBody, uses: ServicesDep, call: ContextDep, request: Request
) -> Response:
    """A user's list under rules of the caller's own, on top of the service's: for services and admins alone."""
    query = ListQuery(user_id, body.type, body.limit, body.offset, body.filters, body.explain, body.shape)
    return to_response(await uses.user_lists.by_rules(query, call))
