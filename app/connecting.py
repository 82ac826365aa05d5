"""Each port of the settings, opened by itself: for processes that need one or two of them and start fast."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from app.config import Settings
from app.domain.interfaces import ArtifactStore, Cache, EventPublisher, EventSource, JobQueue
from app.domain.stores import Database
from app.infrastructure.cache import open_cache
from app.infrastructure.database import open_database
from app.infrastructure.events import GroupPolicy, open_publisher, open_source
from app.infrastructure.jobs import open_job_queue
from app.infrastructure.storage import open_artifact_store


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
    return await open_artifact_store(settings.artifacts_url, settings.artifact_copies)


async def connect_publisher(settings: Settings) -> EventPublisher:
    """Where these settings send events."""
    return await open_publisher(settings.events_url)


async def connect_jobs(settings: Settings) -> JobQueue:
    """The job queue of these settings."""
    return await open_job_queue(settings.jobs_url, settings.train_time_limit_seconds)


async def connect_source(settings: Settings, topics: Collection[str]) -> EventSource:
    """This process's place in the consumer group of these settings."""
    group = GroupPolicy(
        group=settings.consume_group,
        instance=settings.consume_instance,
        session_seconds=settings.consume_session_seconds,
        heartbeat_seconds=settings.consume_heartbeat_seconds,
    )
    return await open_source(settings.events_url, topics, group)
