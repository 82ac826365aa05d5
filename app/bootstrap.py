"""The one place that knows every port and every adapter: settings in, a running container out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from app.config import Settings
from app.domain.interfaces import ArtifactStore, Cache, EventPublisher, JobQueue
from app.domain.recommender import Recommenders
from app.domain.stores import Database
from app.infrastructure.cache import open_cache
from app.infrastructure.database import open_database
from app.infrastructure.events import open_publisher
from app.infrastructure.jobs import open_job_queue
from app.infrastructure.storage import open_artifact_store
from app.models import RECOMMENDERS


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


def utc_now() -> datetime:
    """The production clock."""
    return datetime.now(UTC)


async def connect_database(settings: Settings) -> Database:
    """The database of these settings."""
    return await open_database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        timeout_seconds=settings.database_timeout_seconds,
        lease_seconds=settings.train_lease_seconds,
    )


async def connect_cache(settings: Settings) -> Cache:
    """The cache of these settings."""
    return await open_cache(settings.cache_url, max_bytes=settings.memory_cache_bytes)


async def connect_artifacts(settings: Settings) -> ArtifactStore:
    """The artifact store of these settings."""
    return await open_artifact_store(settings.artifacts_url)


async def connect_publisher(settings: Settings) -> EventPublisher:
    """Where these settings send events."""
    return await open_publisher(settings.events_url)


async def connect_jobs(settings: Settings) -> JobQueue:
    """The job queue of these settings."""
    return await open_job_queue(settings.jobs_url)


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
        yield Container(settings, database, cache, artifacts, jobs, publisher, RECOMMENDERS, clock)
