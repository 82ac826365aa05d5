"""Routes that cannot be made without a policy, and that check it before anything of the body is read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope

from app.api.body_validation import EntriesValidator
from app.api.envelope import QUOTED_SLASH
from app.api.limits import Sender
from app.api.request_context import RequestContext, bounds_of, exchange_of, request_context_of, state_of
from app.api.security import Policy, authorise, policy_of
from app.api.strict_json import parse_json
from app.application.offloading import apart
from app.domain.exceptions import CacheUnavailableError


class StrictRequest(Request):
    """Reads JSON bodies strictly (strict_json.py), large ones in the thread for them; lists of entries are validated
    there too.
    """

    def __init__(self, scope: Scope, receive: Receive, entries: EntriesValidator | None) -> None:
        super().__init__(scope, receive)
        self._entries = entries

    async def json(self) -> Any:
        body = await self.body()
        return await apart(len(body), self._read, body)

    def _read(self, body: bytes) -> object:
        value = parse_json(body)
        return value if self._entries is None else self._entries.validate(value)


class SecuredRoute(APIRoute):
    """Refuses to exist without a declared policy; decides on credentials before the body is touched."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        policy = policy_of(self.endpoint)
        handler = super().get_route_handler()
        entries = None if self.body_field is None else EntriesValidator.of(self.body_field.field_info.annotation)

        async def answer(request: Request) -> Response:
            call = request_context_of(request.scope)
            authorise(policy, call.principal, request.path_params)
            if policy.needs_limiter and call.is_uncounted:
                raise CacheUnavailableError("requests cannot be counted at the moment")
            await take_body(request.scope, policy, call)
            return await handler(StrictRequest(request.scope, request.receive, entries))

        return answer

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """`/users/bulk` is a path of its own and never the user `bulk`, whatever the method."""
        if self.param_convertors and scope["path"] in scope["app"].literal_paths:
            return Match.NONE, {}
        match, child = super().matches(scope)
        if "path_params" in child:
            found = child["path_params"]
            child["path_params"] = {
                name: value.replace(QUOTED_SLASH, "/") if isinstance(value, str) else value
                for name, value in found.items()
            }
        return match, child


async def take_body(scope: Scope, policy: Policy, call: RequestContext) -> None:
    """Wait for the body, if there is one, and only then take a place. Raises what `Exchange.take_body` does."""
    exchange, bounds = exchange_of(scope), bounds_of(scope)
    if not exchange.has_body or policy.public:
        return
    principal = call.principal
    if policy.is_small_for_people and (principal is None or not principal.acts_for_anyone):
        exchange.limit(bounds.person_batch_bytes)
    key = call.address if principal is None else principal.limit_key
    sender = Sender(key, principal is not None and principal.is_service, call.address)
    gateway = state_of(scope).gateway
    await exchange.take_body(gateway.bodies, sender, bounds.deadline_seconds)
    await exchange.admit(gateway.admission, is_user_read=False)


def without_repeats(routers: Iterable[APIRouter]) -> list[APIRouter]:
    """The routers without routes of a method and path that an earlier one has."""
    taken: set[tuple[str, str]] = set()
    kept = []
    for router in routers:
        own = APIRouter()
        for route in router.routes:
            names = (
                {(method, route.path) for method in route.methods or ()} if isinstance(route, SecuredRoute) else set()
            )
            if names.isdisjoint(taken):
                own.routes.append(route)
                taken |= names
        kept.append(own)
    return kept


def literal_paths(routes: Iterable[BaseRoute]) -> frozenset[str]:
    """The paths without parameters."""
    return frozenset(route.path for route in routes if isinstance(route, SecuredRoute) and not route.param_convertors)


def refuse_undeclared(routes: Iterable[BaseRoute]) -> None:
    """Raise TypeError for any route that did not come about as a SecuredRoute."""
    for route in routes:
        if not isinstance(route, SecuredRoute):
            raise TypeError(f"{getattr(route, 'path', route)} is not a SecuredRoute and so has no policy")


def fixed_words(routes: Iterable[BaseRoute], parameter: str) -> frozenset[str]:
    """The words that some route has where another takes this parameter: no id may be one of them.

    `/users/bulk` beside `/users/{user_id}`: a user of that name could be stored, and neither read nor erased.
    """
    paths = [route.path.split("/") for route in routes if isinstance(route, SecuredRoute)]
    place = "{" + parameter + "}"
    heads = {tuple(path[: path.index(place)]) for path in paths if place in path}
    return frozenset(
        path[len(head)]
        for head in heads
        for path in paths
        if len(path) > len(head) and tuple(path[: len(head)]) == head and not path[len(head)].startswith("{")
    )


def refuse_unreachable(routes: Collection[BaseRoute], reserved: Mapping[str, Collection[str]]) -> None:
    """Raise TypeError where a route has a word that an id could be. `reserved`: parameter → ids never stored."""
    for parameter, words in reserved.items():
        if missing := fixed_words(routes, parameter) - frozenset(words):
            raise TypeError(f"{parameter} may be {sorted(missing)}, which routes have taken: reserve it")


def bulk_paths(routes: Iterable[BaseRoute]) -> frozenset[str]:
    """The paths whose policy allows a large body."""
    return frozenset(
        route.path for route in routes if isinstance(route, SecuredRoute) and policy_of(route.endpoint).is_bulk
    )


def methods_at(app: FastAPI, path: str) -> frozenset[str]:
    """Every method that some route answers at this path; empty where nothing is."""
    scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "path_params": {}, "app": app}
    found: set[str] = set()
    for route in app.routes:
        if isinstance(route, SecuredRoute) and route.matches(scope)[0] is not Match.NONE:
            found |= route.methods or set()
    if "GET" in found:
        found.add("HEAD")
    return frozenset(found | {"OPTIONS"}) if found else frozenset()


def allow_header(allowed: Collection[str]) -> tuple[bytes, bytes]:
    """RFC 9110 §10.2.1."""
    return (b"allow", ", ".join(sorted(allowed)).encode())
