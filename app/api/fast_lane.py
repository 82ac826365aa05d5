"""`GET /api/v1/recs/{user_id}` without the framework's machinery, which costs more than everything else on a hit.

No rules of its own: parameters by the route's model (`list_params`), the route's policy (`authorise`), the route's
answer (`UserLists`). Whatever is unusual is left to the route.
"""

from __future__ import annotations

import re

from starlette.routing import BaseRoute
from starlette.types import Scope

from app.api.list_responses import UserLists
from app.api.request_context import Exchange, RequestContext
from app.api.security import Policy, authorise
from app.api.v1.schemas.list_schemas import list_params
from app.domain.entities import RESERVED_USER_IDS
from app.domain.exceptions import PermissionDeniedError

_PATH = re.compile(r"/api/v1/recs/([A-Za-z0-9_:@|~+=-][A-Za-z0-9_.:@|~+=-]{0,127})", re.ASCII)
MAX_QUERY_BYTES = 256
"""Longer queries are rare, and remembering how they parse would cost more than parsing them."""


class FastLane:
    """Answers plain list requests of known callers. `route` is the full route; its policy and template are used."""

    def __init__(self, lists: UserLists, route: BaseRoute, policy: Policy) -> None:
        self._lists = lists
        self._route = route
        self._policy = policy

    async def answered(self, scope: Scope, exchange: Exchange, call: RequestContext) -> bool:
        """Answer and return True, or return False and leave everything to the route: refusals too.

        Raises what the use case raises: it becomes the same problem document on both ways.
        """
        match = _PATH.fullmatch(scope["path"])
        query = scope["query_string"]
        if call.principal is None or match is None or match[1] in RESERVED_USER_IDS or len(query) > MAX_QUERY_BYTES:
            return False
        params = list_params(query)
        if params is None:
            return False
        user_id = match[1]
        try:
            authorise(self._policy, call.principal, {"user_id": user_id})
        except PermissionDeniedError:
            return False
        scope["route"] = self._route
        answer = await self._lists.answer(user_id, params, call, scope["headers"])
        await exchange.answer(answer.status, answer.headers, answer.body)
        return True
