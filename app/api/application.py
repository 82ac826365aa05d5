"""The ASGI application: FastAPI behind the boundary. One for the service, and one beside it for operators."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from itertools import chain

from fastapi import APIRouter, FastAPI
from starlette.types import Receive, Scope, Send

from app.api import exception_handlers, openapi
from app.api.cors import CrossOrigin
from app.api.middleware import PROBES, BoundaryMiddleware
from app.api.request_context import RequestLimits
from app.api.routing import literal_paths, methods_at, refuse_undeclared
from app.api.web_sockets import as_request


class Application(FastAPI):
    """Crosses the boundary before the framework is asked: its machinery is for requests that deserve it."""

    boundary: BoundaryMiddleware
    literal_paths: frozenset[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            scope, receive, send = as_request(scope, receive, send)
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self.boundary(scope, receive, send)

    def assemble(
        self,
        routers: Iterable[APIRouter],
        limits: Callable[[FastAPI], RequestLimits],
        uncounted: Collection[str] = PROBES,
        cross_origin: CrossOrigin | None = None,
    ) -> None:
        """Take the routes and put the boundary before them. Raises TypeError for a route without a policy.

        More particular paths first. `uncounted`: paths that no limit applies to.
        """
        self.router.routes.extend(chain.from_iterable(router.routes for router in routers))
        refuse_undeclared(self.routes)
        self.literal_paths = literal_paths(self.routes)
        self.openapi = partial(openapi.document, self)  # type: ignore[method-assign]  # the way FastAPI documents
        exception_handlers.install(self)
        self.boundary = BoundaryMiddleware(
            partial(FastAPI.__call__, self),
            bounds=limits(self),
            methods_at=partial(methods_at, self),
            uncounted=uncounted,
            cross_origin=cross_origin,
        )
