"""`/api/v1/recs/{user_id}/stream` and `/ws`: a user's list now, and each time it changes (docs/live.md)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import Header, Query, Request, Response

from app.api.dependencies import Services, ServicesDep
from app.api.live_answers import LiveAnswer, UpgradeRequired
from app.api.security import with_policy
from app.api.v1.recommendation_routes import LIST_POLICY
from app.api.v1.route_docs import CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.common import UserIdPath
from app.api.v1.schemas.list_schemas import LiveId, LiveParams
from app.api.web_sockets import upgrade_of

routes = router("/api/v1/recs", "lists")

_STREAM: dict[str, Any] = {
    "description": (
        "Events `list` (the id of the list, and the document that `GET /api/v1/recs/{user_id}` answers with), comments "
        "as signs of life, and `end` with a `reason`: `credentials_ended` or `shutting_down`."
    ),
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_SOCKET: dict[str, Any] = {
    "description": (
        'A WebSocket. Messages: `{"event":"list","id":…,"list":…}`, `{"event":"heartbeat"}`, `{"event":"end",'
        '"reason":…}`; nothing is read.'
    )
}


@routes.get(
    "/{user_id}/stream",
    operation_id="streamList",
    response_class=Response,
    responses={**problem_responses(*CLOSED_PROBLEMS, 404), 200: _STREAM},
)
@with_policy(LIST_POLICY)
async def stream_list(
    user_id: UserIdPath,
    params: Annotated[LiveParams, Query()],
    uses: ServicesDep,
    last_event_id: Annotated[LiveId | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    """A user's list as server-sent events: now, and again each time it changes (an event, a promotion, the catalog)."""
    return _live_answer(user_id, params, last_event_id, uses)


@routes.get(
    "/{user_id}/ws",
    operation_id="openListSocket",
    response_class=Response,
    responses={**problem_responses(*CLOSED_PROBLEMS, 404, 426), 101: _SOCKET},
    status_code=101,
)
@with_policy(LIST_POLICY)
async def open_list_socket(
    user_id: UserIdPath, params: Annotated[LiveParams, Query()], uses: ServicesDep, request: Request
) -> Response:
    """The same over a WebSocket. Where no header can be set the token goes as subprotocol `encore.bearer.TOKEN`."""
    if upgrade_of(request.scope) is None:
        return UpgradeRequired()
    return _live_answer(user_id, params, None, uses)


def _live_answer(user_id: str, params: LiveParams, known_id: str | None, uses: Services) -> Response:
    read = partial(uses.user_lists.live, user_id, params.list_params)
    return LiveAnswer(uses.live, user_id, read, known_id or params.last_event_id, uses.authenticator, uses.clock)
