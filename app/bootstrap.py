"""The one place that knows every port and every adapter: settings in, a running container out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version

from app.application.catalog_service import CatalogService
from app.application.experimentation.experiment_service import ExperimentService, PinnedLimits
from app.application.experimentation.model_evidence import EvidenceReader
from app.application.experimentation.request_recorder import RequestRecorder
from app.application.ingestion.http_ingestion import EventIngestion
from app.application.invalidation.list_invalidation import ListInvalidator
from app.application.ranking.list_ranking import Ranker, rank_list
from app.application.ranking.serving_state import ServingState
from app.application.recommending.list_policy import ListPolicy
from app.application.recommending.recommendation_service import RecommendationService
from app.application.recommending.refresh_events import RefreshListener, no_op_listener
from app.application.reporting.model_quality import ModelEvaluator
from app.application.reporting.reporter import EVALUATION, KPIS, Reporter
from app.application.scheduler import LONG_AGO, Scheduler, Timetable
from app.application.serving.canaries import Canaries
from app.application.serving.counting_ranker import CountingRanker
from app.application.serving.guardrail import Guardrail
from app.application.serving.model_routing import ModelRouting
from app.application.serving.model_server import ModelServer, ServingPolicy
from app.application.serving.pinned_models import PinnedModels
from app.application.serving.shadow import Shadow
from app.application.serving_stack import ServingStack
from app.application.training.model_registry import ModelRegistry
from app.application.training.model_training import Trainer
from app.bootstrap_erasing import erasure_stores, make_erasures
from app.config import Settings, pseudonym_secret
from app.connecting import (
    connect_artifacts,
    connect_cache,
    connect_database,
    connect_jobs,
    connect_publisher,
    utc_now,
)
from app.domain.cron import Cron
from app.domain.interfaces import ArtifactStore, Cache, EventPublisher, JobQueue
from app.domain.recommender import MEMBER_OF_TYPE, Recommenders
from app.domain.stores import Database
from app.models import RecommenderTable
from app.policies import (
    guardrail_policy,
    index_opener,
    letter_bounds,
    ranking_policy_of,
    signal_policy,
    training_policy,
)


@dataclass(frozen=True, slots=True)
class Container:
    """Everything a process needs, behind ports."""

    settings: Settings
    database: Database
    cache: Cache
    artifacts: ArtifactStore
    jobs: JobQueue
    publisher: EventPublisher
    recommenders: Recommenders
    clock: Callable[[], datetime]


@asynccontextmanager
async def open_container(settings: Settings, clock: Callable[[], datetime] = utc_now) -> AsyncIterator[Container]:
    """Open every port named by the settings; close them in reverse order, whatever happens."""
    async with AsyncExitStack() as stack:
        database = await connect_database(settings)
        stack.push_async_callback(database.close)
        cache = await connect_cache(settings)
        stack.push_async_callback(cache.close)
        artifacts = await connect_artifacts(settings)
        stack.push_async_callback(artifacts.close)
        publisher = await connect_publisher(settings)
        stack.push_async_callback(publisher.close)
        jobs = await connect_jobs(settings)
        stack.push_async_callback(jobs.close)
        recommenders = RecommenderTable(settings.train_transformer)
        yield Container(settings, database, cache, artifacts, jobs, publisher, recommenders, clock)


def make_serving(
    container: Container,
    recorder: RequestRecorder,
    refreshed: RefreshListener = no_op_listener,
    pinned_by_arms: Callable[[], Collection[str]] = tuple,
) -> ServingStack:
    """Everything behind the routes that serve; `refreshed` hears of each personal list that was made.

    `pinned_by_arms`: ids of models that arms of running experiments name.
    """
    settings, database, cache, clock = container.settings, container.database, container.cache, container.clock
    policy = ListPolicy(
        size=settings.list_size,
        history_limit=settings.history_limit,
        ttl_seconds=settings.list_ttl_seconds,
        stale_seconds=settings.list_stale_seconds,
        memory_ttl_seconds=settings.memory_list_ttl_seconds,
        memory_bytes=settings.memory_list_bytes,
        threads=settings.scoring_threads,
        max_waiting=settings.max_computing_lists,
        signals=signal_policy(settings),
    )
    server = _model_server(container, settings.train_model_type, only_with_model=False)
    by_type = {
        wanted: _model_server(container, wanted, only_with_model=True)
        for wanted in MEMBER_OF_TYPE
        if wanted != settings.train_model_type
    }
    pinned = _pinned_models(container, pinned_by_arms)
    rank, guardrail, shadow = _rankers(container, server, pinned)
    routing = ModelRouting(server, by_type, pinned)
    lists = RecommendationService(database, cache, routing, clock, policy, rank, refreshed)

    def wake_catalog() -> None:
        for follower in (server, *by_type.values()):
            follower.wake_catalog()

    # A cache of our own hears nothing of what other processes write: then the database is asked.
    follow_seconds = None if cache.is_shared else settings.catalog_poll_seconds
    renewal = ListInvalidator(database.interactions, cache, lists.forget, follow_seconds)
    max_age = timedelta(days=settings.event_max_age_days)
    events = EventIngestion(database.interactions, renewal, clock, max_age=max_age)
    catalog = CatalogService(database.catalog, renewal, clock, wake_catalog)
    return ServingStack(server, by_type, lists, renewal, events, catalog, guardrail, shadow, pinned)


def _pinned_models(container: Container, pinned_by_arms: Callable[[], Collection[str]]) -> PinnedModels:
    def open_server(model_id: str) -> ModelServer:
        model_type = container.settings.train_model_type
        return _model_server(container, model_type, only_with_model=True, pinned=model_id, role="pinned")

    poll_seconds = container.settings.model_poll_seconds
    return PinnedModels(container.database.canaries, pinned_by_arms, open_server, poll_seconds)


def _rankers(
    container: Container, server: ModelServer, pinned: PinnedModels
) -> tuple[Ranker, Guardrail | None, Shadow | None]:
    """What ranks lists, with what watches it: the guardrail counts, the shadow compares."""
    settings, registry, guardrail, shadow = container.settings, make_registry(container), None, None
    rank: Ranker = rank_list
    if settings.guardrail:
        counting = CountingRanker(settings.guardrail_window_seconds)
        canaries = (pinned, make_canaries(container, "guardrail"))
        guardrail = Guardrail(server, counting, registry, guardrail_policy(settings), canaries=canaries)
        rank = counting.rank
    if settings.shadow_model:
        model_type, model_id = settings.train_model_type, settings.shadow_model
        candidate = _model_server(container, model_type, only_with_model=True, pinned=model_id)
        shadow = Shadow(candidate, settings.shadow_share, rank, registry.note_shadow)
        rank = shadow.rank
    return rank, guardrail, shadow


def _model_server(
    container: Container, model_type: str, *, only_with_model: bool, pinned: str | None = None, role: str = "shadow"
) -> ModelServer:
    settings = container.settings
    policy = ServingPolicy(
        model_type=model_type,
        model_poll_seconds=settings.model_poll_seconds,
        catalog_poll_seconds=settings.catalog_poll_seconds,
        index_above=settings.vector_index_above,
        only_with_model=only_with_model,
        ranking_policy=ranking_policy_of(settings),
        pinned=pinned,
        role=role,
    )
    return ModelServer(
        container.database, container.artifacts, container.recommenders, container.clock, policy, index_opener(settings)
    )


def make_trainer(container: Container) -> Trainer:
    """The training pipeline over this container's ports."""
    settings = container.settings
    return Trainer(
        container.database,
        container.artifacts,
        container.recommenders,
        container.clock,
        training_policy(settings),
        seed=settings.train_seed,
        code_version=version("encore-recs"),
        open_index=index_opener(settings),
    )


def make_judge(container: Container) -> ModelEvaluator:
    """What measures models of the registry."""
    settings = container.settings
    return ModelEvaluator(
        container.database,
        container.artifacts,
        container.recommenders,
        container.clock,
        training_policy(settings),
        settings.train_seed,
    )


def make_reporter(container: Container) -> Reporter:
    """What works reports out."""
    settings = container.settings
    return Reporter(
        container.database,
        make_judge(container),
        container.clock,
        settings.train_model_type,
        settings.kpi_days,
        pseudonym_secret(settings),
        timedelta(hours=settings.attribution_hours),
    )


def make_scheduler(container: Container, slots: dict[str, datetime], since: datetime = LONG_AGO) -> Scheduler:
    """What runs by the clock; `slots` is what this process remembers of it, slots before `since` are left alone."""
    settings = container.settings
    reports = {EVALUATION: settings.evaluation_schedule, KPIS: settings.kpi_schedule}
    timetable = Timetable(
        training=Cron.parse(settings.train_schedule) if settings.train_schedule else None,
        retention=Cron.parse(settings.retention_schedule) if settings.retention_schedule else None,
        model_type=settings.train_model_type,
        keep_versions=settings.train_keep_versions,
        reports={name: Cron.parse(schedule) for name, schedule in reports.items() if schedule},
        since=since,
        request_log_kept=timedelta(days=settings.request_log_days),
        letters=letter_bounds(settings),
    )
    return Scheduler(
        container.database,
        container.artifacts,
        container.jobs,
        container.recommenders,
        container.clock,
        timetable,
        slots,
        make_canaries(container, "schedule"),
        make_erasures(container, erasure_stores(container)).run_waiting,
    )


def make_registry(container: Container) -> ModelRegistry:
    """The model registry over this container's ports."""
    return ModelRegistry(container.database, container.artifacts, container.recommenders, container.clock)


def make_experiments(container: Container) -> ExperimentService:
    """The use cases of experiments."""
    limits = PinnedLimits(make_registry(container).weigh, container.settings.pinned_model_bytes)
    return ExperimentService(container.database.experiments, container.clock, limits)


def make_canaries(container: Container, actor: str) -> Canaries:
    """Candidates on their way, moved by `actor`."""
    settings, database = container.settings, container.database
    attribution = timedelta(hours=settings.attribution_hours)
    secret = pseudonym_secret(settings)
    evidence = EvidenceReader(database.request_log, database.interactions, secret, attribution)
    return Canaries(database, make_registry(container), evidence, container.clock, actor)


def make_recorder(container: Container) -> RequestRecorder:
    """The writer of the request log."""
    settings = container.settings
    return RequestRecorder(container.database.request_log, pseudonym_secret(settings), settings.request_log_share)


async def open_candidate(container: Container, model_id: str) -> ServingState:
    """This version as it would serve now. Raises NotFoundError, ConflictError, ArtifactError."""
    model = await make_registry(container).servable(model_id)
    server = _model_server(container, model.model_type, only_with_model=True, pinned=model_id, role="pinned")
    await server.refresh_model()
    await server.refresh_catalog()
    return server.current
