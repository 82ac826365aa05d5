"""What routes are handed: the use cases, the call, the clock. All of it is made when the application starts."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request

from app.api.cursors import Cursors
from app.api.limits import RateLimiter
from app.api.list_responses import UserLists
from app.api.request_context import RequestContext, request_context_of
from app.api.security import Principal
from app.application.catalog_service import CatalogService
from app.application.experimentation.experiment_results import ResultsReader
from app.application.experimentation.experiment_service import ExperimentService
from app.application.experimentation.request_recorder import RequestRecorder
from app.application.ingestion.dead_letter_replay import DeadLetterReplay
from app.application.ingestion.http_ingestion import EventIngestion
from app.application.recommending.recommendation_service import RecommendationService
from app.application.recommending.user_histories import UserHistories
from app.application.serving.canaries import Canaries
from app.application.serving.model_server import ModelServer
from app.application.training.model_registry import ModelRegistry
from app.application.training.model_training import TrainingRequest
from app.domain.audit import AuditStore
from app.domain.entities import TrainingJob
from app.domain.exceptions import AuthenticationError
from app.domain.list_query import Page
from app.domain.queue_stores import DeadLetterStore
from app.domain.reports import ReportStore
from app.domain.training_stores import TrainingStore


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether lists can be served, and what each dependency last said (docs/design.md §10).

    `seconds`: how long those that answered took to; `uptime_seconds`: of this process.
    """

    is_ready: bool
    is_degraded: bool
    facts: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict)
    uptime_seconds: float = 0.0

    @property
    def status(self) -> str:
        """In one word."""
        return "not ready" if not self.is_ready else "degraded" if self.is_degraded else "ready"


@dataclass(frozen=True, slots=True)
class Batches:
    """How many events a request may hold."""

    person: int
    service: int

    def of(self, caller: Principal) -> int:
        """The most that this caller may send at once."""
        return self.service if caller.acts_for_anyone else self.person


@dataclass(frozen=True, slots=True)
class Operations:
    """What operators look at and put right."""

    dead_letters: DeadLetterStore
    replay: DeadLetterReplay
    audit: AuditStore
    reports: ReportStore


@dataclass(frozen=True, slots=True)
class Services:
    """Everything routes call."""

    recommendation: RecommendationService
    user_lists: UserLists
    events: EventIngestion
    batches: Batches
    limiter: RateLimiter
    catalog: CatalogService
    registry: ModelRegistry
    server: ModelServer
    canaries: Canaries
    model_changed: Callable[[], None]
    model_type: str
    """The type of model that serves (ENCORE_TRAIN_MODEL_TYPE)."""
    trainings: TrainingStore
    request_training: Callable[[TrainingRequest], Awaitable[TrainingJob]]
    cursors: Cursors
    clock: Callable[[], datetime]
    readiness: Callable[[], Awaitable[Readiness]]
    experiments: ExperimentService
    experiments_changed: Callable[[], None]
    results: ResultsReader
    recorder: RequestRecorder
    histories: UserHistories
    operations: Operations

    def record(self, call: RequestContext, surface: str, page: Page, started: float) -> None:
        """Log a list that is nobody's own; `started`: of `time.perf_counter`."""
        seconds = time.perf_counter() - started
        self.recorder.record(call.request_id, time.time(), None, surface, page, seconds=seconds)


async def services_of(request: Request) -> Services:
    """The use cases of the running application."""
    services: Services = request.app.state.services
    return services


async def current_request_context(request: Request) -> RequestContext:
    """What is known about this request."""
    return request_context_of(request.scope)


async def current_principal(request: Request) -> Principal:
    """The caller of a closed route."""
    principal = request_context_of(request.scope).principal
    if principal is None:
        raise AuthenticationError
    return principal


ServicesDep = Annotated[Services, Depends(services_of)]
ContextDep = Annotated[RequestContext, Depends(current_request_context)]
PrincipalDep = Annotated[Principal, Depends(current_principal)]
