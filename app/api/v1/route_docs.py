"""How routes are declared: one way, so that policy, documented problems and operation ids are never forgotten."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.api.routing import SecuredRoute

_MEANING = {
    400: "Malformed: the address, the JSON or a cursor.",
    401: "Credentials are missing or not valid.",
    403: "The credentials do not allow this.",
    404: "Nothing by that name; nothing has a name with a slash, a backslash or an escaped percent sign in it.",
    408: "The request did not arrive in time.",
    409: "The present state does not allow this.",
    412: "What is there is not what `If-Match` or `If-None-Match` names; nothing was changed.",
    413: "The body is too large.",
    414: "The address is too long.",
    415: "The body is not plain UTF-8 JSON.",
    422: "Some part of the request is not acceptable.",
    426: "Only a WebSocket can be opened here.",
    429: "Too many requests; `Retry-After` says when to come back.",
    431: "The headers are too large or too many.",
    500: "Something went wrong on our side.",
    503: "A dependency does not answer, or too busy; `Retry-After` says when to come back.",
}
CLOSED_PROBLEMS = (400, 401, 403, 408, 414, 422, 429, 431, 500, 503)
"""What any route that needs credentials may answer."""

BODY_PROBLEMS = (413, 415)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: these problems, as documents."""
    return {
        status: {
            "description": _MEANING[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(statuses)
    }


def router(prefix: str, tag: str) -> APIRouter:
    """A router whose routes must declare policies."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=SecuredRoute, redirect_slashes=False)
