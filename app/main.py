"""The HTTP process: `create_app(settings)`. What it decides is in app/api, what it does in app/application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI

from app import telemetry
from app.api import health, openapi
from app.api.application import Application
from app.api.compat import books, movies, posts
from app.api.cors import allowing
from app.api.cursors import Cursors
from app.api.dependencies import Services
from app.api.envelope import EnvelopeLimits
from app.api.fast_lane import FastLane
from app.api.jwks import KeySource, open_keys
from app.api.limits import RateLimiter
from app.api.list_responses import UserLists
from app.api.readiness import ReadinessCheck
from app.api.recording import Recording
from app.api.request_context import RequestLimits
from app.api.routing import bulk_paths, refuse_unreachable, without_repeats
from app.api.v1 import (
    dead_letter_routes,
    erasure_routes,
    event_routes,
    experiment_routes,
    item_routes,
    live_routes,
    model_routes,
    recommendation_routes,
    report_routes,
    training_routes,
    user_routes,
)
from app.application.erasing.erasures import Erasures
from app.application.erasing.follower import ErasureFollower
from app.application.experimentation.assignments import Assignments
from app.application.experimentation.request_recorder import RequestRecorder
from app.application.ingestion.dead_letter_retention import watch_dead_letters
from app.application.outgoing.outbox_relay import BackgroundEvents, OutboxRelay
from app.application.queue_gauges import watch_queues
from app.application.recommending.live_lists import LiveLists, LivePolicy
from app.application.recommending.refresh_events import publish_to
from app.application.reporting.report_gauges import watch_reports
from app.application.scheduler import tick_for_ever
from app.application.serving_stack import ServingStack
from app.application.supervision import Loop, supervised, watch_lag
from app.application.training.model_training import request_training
from app.application.training.requeueing import requeue_pending
from app.bootstrap import (
    Container,
    make_canaries,
    make_experiments,
    make_recorder,
    make_registry,
    make_scheduler,
    make_serving,
    open_container,
)
from app.bootstrap_erasing import erasure_stores, make_erasures
from app.bootstrap_evidence import make_results_reader
from app.config import Settings, pseudonym_secret, require_credentials
from app.domain.entities import RESERVED_ITEM_IDS, RESERVED_USER_IDS
from app.domain.exceptions import UnavailableError
from app.infrastructure.tracing import Tracing
from app.operating import (
    batches_of,
    cursor_secret,
    make_authenticator,
    make_guards,
    make_histories,
    operations_of,
)
from app.policies import letter_bounds
from app.tracing import connect_tracing

log = telemetry.get_logger(__name__)

FLUSH_SECONDS = 3.0  # how long a shutdown waits for events that may be lost


COMPAT: Mapping[str, APIRouter] = {"posts": posts.routes, "movies": movies.routes, "books": books.routes}
"""System that Encore replaces → its routes; off unless the setting `compat` names it."""


def create_app(settings: Settings) -> FastAPI:
    """The application. Raises ConfigurationError if nothing could check credentials, TypeError for an open route."""
    require_credentials(settings)
    keys = open_keys(
        None if settings.jwt_secret is None else settings.jwt_secret.get_secret_value(),
        settings.jwt_jwks_url,
        settings.jwt_jwks_file,
        settings.jwt_jwks_ca_file,
    )
    tracing = connect_tracing(settings, "api")
    app = Application(
        title="Encore",
        version=version("encore-recs"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lambda app: lifespan(app, settings, keys, tracing),
    )
    routers = every_router(settings.shows_operations, settings.compat_systems)
    pages = allowing(settings.cors_origins, settings.cors_credentials)
    app.assemble(routers, partial(bounds_of, settings), cross_origin=pages)
    refuse_unreachable(app.routes, {"user_id": RESERVED_USER_IDS, "item_id": RESERVED_ITEM_IDS})
    app.state.operator_pages = health.OperatorPages(app.openapi)
    return app


def create_admin_app(app: FastAPI, settings: Settings) -> FastAPI:
    """What operators look at, for a listener that strangers do not reach: probes, figures and documents of `app`.

    No credentials, no limits, no place taken. It has no life of its own: `app` opens what it looks at.
    """
    admin = Application(title="Encore: operations", docs_url=None, redoc_url=None, openapi_url=None)
    admin.router.redirect_slashes = False
    admin.state = app.state
    routers = [health.probes, health.operations]
    paths = {str(getattr(route, "path", "")) for router in routers for route in router.routes}
    admin.assemble(routers, partial(bounds_of, settings), uncounted=paths | health.ASSET_PATHS)
    return admin


def every_router(shows_operations: bool = True, compat: Sequence[str] = ()) -> list[APIRouter]:
    """The routers, in the order in which they are asked; `compat`: older systems whose addresses are answered, too.

    An address that two of them have is that of the first: theirs before ours, theirs in the order given.
    """
    if compat:
        return without_repeats([*(COMPAT[name] for name in compat), *every_router(shows_operations)])
    # More particular paths first: `/recs/train` is not a user.
    modules = [
        training_routes,
        model_routes,
        experiment_routes,
        recommendation_routes,
        live_routes,
        item_routes,
        user_routes,
        erasure_routes,
        event_routes,
        dead_letter_routes,
        report_routes,
    ]
    shown = [health.operations] if shows_operations else []
    return [*(module.routes for module in modules), health.probes, *shown]


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of every route. Opens nothing and needs no setting."""
    app = FastAPI(title="Encore", version=version("encore-recs"))
    for router in every_router():
        app.router.routes.extend(router.routes)
    return openapi.document(app)


def bounds_of(settings: Settings, app: FastAPI) -> RequestLimits:
    """Caps on one request."""
    return RequestLimits(
        max_body_bytes=settings.max_body_bytes,
        max_bulk_body_bytes=settings.max_bulk_body_bytes,
        bulk_paths=bulk_paths(app.routes),
        person_batch_bytes=settings.person_batch_bytes,
        deadline_seconds=settings.request_deadline_seconds,
        envelope=EnvelopeLimits(),
    )


@asynccontextmanager
async def lifespan(app: FastAPI, settings: Settings, keys: KeySource, tracing: Tracing | None) -> AsyncIterator[None]:
    """Open the ports, start what serves, run the loops; the reverse at the end."""
    async with AsyncExitStack() as stack:
        if tracing is not None:
            stack.push_async_callback(tracing.close)
        container = await stack.enter_async_context(open_container(settings))
        assignments = Assignments(container.database.experiments, settings.model_poll_seconds)
        recorder = make_recorder(container)
        stack.push_async_callback(recorder.flush, FLUSH_SECONDS)
        background_events = BackgroundEvents(container.publisher, container.clock)
        serving = make_serving(container, recorder, publish_to(background_events), assignments.pinned)
        stack.push_async_callback(serving.close)
        limits = settings.live_connections, settings.live_connections_per_user, settings.live_heartbeat_seconds
        live = LiveLists(container.cache, LivePolicy(*limits))
        stack.callback(live.end)
        serving.tell(live.renew_all)
        await serving.start()
        memory = [serving.lists.erase, recorder.erase, background_events.erase]
        memory.append(lambda is_theirs: app.state.services.user_lists.erase(is_theirs))
        erasures = make_erasures(container, erasure_stores(container, memory), serving.renewal.renew)
        wire_app_state(app, container, serving, keys, assignments, recorder, erasures, live)
        with suppress(UnavailableError):  # without database or broker the next start rings for what is queued
            await requeue_pending(container.database, container.jobs)
        relay = OutboxRelay(
            container.database.outbox, container.database.dead_letters, container.publisher, container.clock
        )
        stack.push_async_callback(background_events.flush, FLUSH_SECONDS)
        loops: dict[str, Loop] = {
            "serving": serving.follow,
            "live_lists": live.follow,
            "keys": keys.follow,
            # Cancelled at the end like the others: what it has claimed goes out again when its lease is over.
            "outbox": partial(relay.run, asyncio.Event()),
            "background_events": partial(background_events.run, asyncio.Event()),
            "lag": watch_lag,
            "experiments": assignments.follow,
            "request_log": recorder.run,
            "queue_gauges": partial(watch_queues, container.database, container.jobs),
            "dead_letters": partial(watch_dead_letters, container.database, letter_bounds(settings), container.clock),
            "erasures": ErasureFollower(erasures).follow,
            "report_gauges": partial(watch_reports, container.database),
        }
        if container.jobs.needs_ticks:
            # No Beat here, so this process ticks; what was due before it started is left alone.
            scheduler = make_scheduler(container, {}, container.clock())
            loops["schedule"] = partial(tick_for_ever, scheduler, settings.schedule_tick_seconds)
        await stack.enter_async_context(supervised(loops))
        yield


def wire_app_state(
    app: FastAPI,
    container: Container,
    serving: ServingStack,
    keys: KeySource,
    assignments: Assignments,
    recorder: RequestRecorder,
    erasures: Erasures,
    live: LiveLists,
) -> None:
    """Hand the routes their use cases, and the boundary what it decides with."""
    settings, database = container.settings, container.database
    limiter = RateLimiter(
        container.cache,
        person=settings.rate_limit_per_minute,
        service=settings.service_rate_limit_per_minute,
        replicas=settings.replicas,
    )
    cursors = Cursors(cursor_secret(settings))
    lists = UserLists(serving.lists, limiter, cursors, assignments, recorder, settings.page_cache_bytes)
    readiness = ReadinessCheck(serving.server, {"database": database.ping, "cache": container.cache.ping})
    app.state.readiness = readiness
    app.state.recording = Recording(database.audit, container.clock, pseudonym_secret(settings))
    authenticator = make_authenticator(container, keys)
    app.state.services = Services(
        recommendation=serving.lists,
        user_lists=lists,
        live=live,
        authenticator=authenticator,
        events=serving.events,
        batches=batches_of(settings),
        limiter=limiter,
        catalog=serving.catalog,
        registry=make_registry(container),
        server=serving.server,
        canaries=make_canaries(container, "api"),
        model_changed=serving.wake,
        model_type=settings.train_model_type,
        trainings=database.trainings,
        request_training=partial(request_training, database, container.jobs, container.recommenders, container.clock),
        cursors=cursors,
        clock=container.clock,
        readiness=readiness,
        experiments=make_experiments(container),
        experiments_changed=assignments.wake,
        results=make_results_reader(container),
        recorder=recorder,
        erasures=erasures,
        histories=make_histories(container, serving.server),
        operations=operations_of(container),
    )
    lane = FastLane(lists, recommendation_routes.LIST_ROUTE, recommendation_routes.LIST_POLICY)
    app.state.gateway = make_guards(settings, authenticator, limiter, lane)
