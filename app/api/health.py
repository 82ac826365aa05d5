"""Probes, metrics and pages (docs/design.md §10). Liveness asks nobody; readiness is red if no list can be served."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics

from app import telemetry
from app.api import reference_pages, welcome
from app.api.dependencies import ContextDep, ServicesDep
from app.api.exception_handlers import problem_response
from app.api.problems import NOT_READY, Problem
from app.api.rendered import Rendered
from app.api.security import PUBLIC, with_policy
from app.api.v1.route_docs import problem_responses, router
from app.api.v1.schemas.common import ResponseModel

probes = router("", "operations")
operations = router("", "operations")
"""On the listener for operators (`admin_port`), and where the setting `operations_open` says so on the public one."""

VERSION = version("encore-recs")
FIGURES_SECONDS = 1.0
"""How old figures may be: collecting them takes tens of milliseconds of processor time."""

LINKS = {
    "/docs": "every operation, to read and to try (Swagger UI)",
    "/redoc": "the same to read (ReDoc)",
    "/openapi.json": "the same for tools (OpenAPI 3.1)",
    "/health": "state of each part",
    "/metrics": "figures for Prometheus",
}


ASSET_PATHS = frozenset(f"/{reference_pages.ASSETS}/{name}" for name in reference_pages.MEDIA_TYPES)


class Alive(ResponseModel):
    """The process answers."""

    status: str = "alive"


class Welcome(ResponseModel):
    """What runs here and where to go."""

    name: str = "encore"
    version: str
    status: str
    model: dict[str, Any] | None
    links: dict[str, str]


class Health(ResponseModel):
    """The state of the service and of each part of it."""

    status: str
    version: str
    checks: dict[str, Any]


@probes.get("/health/live", operation_id="isAlive", response_model=Alive)
@with_policy(PUBLIC)
async def is_alive() -> Alive:
    """The event loop runs. Asks no dependency: restarting us would not repair one."""
    return Alive()


@probes.get("/health/ready", operation_id="isReady", response_model=Health, responses=problem_responses(503))
@with_policy(PUBLIC)
async def is_ready(uses: ServicesDep, call: ContextDep) -> Response:
    """Whether to send requests here: yes while any list can be served, no while draining."""
    return await _health(uses, call)


@probes.get("/health", operation_id="getHealth", response_model=Health, responses=problem_responses(503))
@with_policy(PUBLIC)
async def get_health(uses: ServicesDep, call: ContextDep) -> Response:
    """The state of each part."""
    return await _health(uses, call)


async def _health(uses: ServicesDep, call: ContextDep) -> Response:
    readiness = await uses.readiness()
    if not readiness.is_ready:
        return problem_response(Problem(NOT_READY, extra={"checks": readiness.facts}), call.request_id)
    health = Health(status=readiness.status, version=VERSION, checks=dict(readiness.facts))
    return JSONResponse(health.model_dump(mode="json"))


class OperatorPages:
    """The figures and the OpenAPI document as bytes; `document` gives the document of the service."""

    def __init__(self, document: Callable[[], dict[str, Any]]) -> None:
        self.openapi = Rendered(lambda: json.dumps(document(), separators=(",", ":")).encode(), math.inf)
        self.figures = Rendered(lambda: exposition.generate_latest(telemetry.REGISTRY), FIGURES_SECONDS)
        self.open_metrics = Rendered(
            lambda: openmetrics.generate_latest(telemetry.REGISTRY),  # type: ignore[no-untyped-call]  # not annotated there
            FIGURES_SECONDS,
        )


def _pages(request: Request) -> OperatorPages:
    pages: OperatorPages = request.app.state.operator_pages
    return pages


@operations.get("/metrics", operation_id="getMetrics", response_class=PlainTextResponse)
@with_policy(PUBLIC)
async def get_metrics(request: Request) -> Response:
    """Figures for Prometheus, at most a second old; as OpenMetrics, with exemplars, to who asks for it."""
    # Only the media type is looked at: negotiating by the rest of the header would parse what strangers write.
    if "application/openmetrics-text" in request.headers.get("accept", ""):
        return Response(await _pages(request).open_metrics.get(), media_type=openmetrics.CONTENT_TYPE_LATEST)
    return Response(await _pages(request).figures.get(), media_type=exposition.CONTENT_TYPE_LATEST)


@operations.get("/openapi.json", operation_id="getOpenApi", response_model=dict[str, Any])
@with_policy(PUBLIC)
async def get_openapi(request: Request) -> Response:
    """This interface as an OpenAPI 3.1 document."""
    document = await _pages(request).openapi.get()
    return Response(document, media_type="application/json", headers={"cache-control": "no-cache"})


@operations.get("/docs", operation_id="getDocs", response_class=HTMLResponse)
@with_policy(PUBLIC)
async def get_docs() -> Response:
    """This interface in Swagger UI: read it and try it."""
    return _reference(await asyncio.to_thread(reference_pages.swagger_page))


@operations.get("/redoc", operation_id="getRedoc", response_class=HTMLResponse)
@with_policy(PUBLIC)
async def get_redoc() -> Response:
    """This interface in ReDoc: for reading."""
    return _reference(await asyncio.to_thread(reference_pages.redoc_page))


@operations.get("/docs/assets/{name}", include_in_schema=False)
@with_policy(PUBLIC)
async def get_docs_asset(name: str, request: Request) -> Response:
    """A script, style or picture of the two pages."""
    asset = await asyncio.to_thread(reference_pages.asset, name)
    headers = {"etag": f'"{asset.sha256}"', "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)


def _reference(page: reference_pages.Page) -> Response:
    return HTMLResponse(page.html, headers={"content-security-policy": page.policy, "cache-control": "no-cache"})


@operations.get("/", operation_id="getWelcome", response_model=Welcome)
@with_policy(PUBLIC)
async def get_welcome(request: Request, uses: ServicesDep) -> Response:
    """What runs here and where to go: a page for people, JSON for programs."""
    readiness = await uses.readiness()
    facts = Welcome(version=VERSION, status=readiness.status, model=readiness.facts.get("model"), links=LINKS)
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(welcome.welcome(facts.model_dump()), headers=welcome.HEADERS)
    return JSONResponse(facts.model_dump(mode="json"), headers={"cache-control": "no-cache"})
