"""Each kind of client the way a process uses it: opened, asked, closed. For `benchmarks.cancellations` and its test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from app.domain.entities import Interaction, Kind, OutboxMessage
from app.domain.interfaces import EventSource, Partition
from app.domain.stores import IngestBatch
from app.infrastructure.cache import open_cache
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from app.infrastructure.events import GroupPolicy, open_publisher, open_source
from app.infrastructure.events.kafka_admin import create_missing_topics
from app.infrastructure.events.kafka_epoch import topic_epochs
from app.infrastructure.events.kafka_url import parse_kafka_url
from app.infrastructure.jobs import open_job_queue
from app.infrastructure.storage import open_artifact_store
from tests.servers.postgres import execute, on_database

TOPIC = "encore.cancellations"
Use = Callable[[str, Path], Awaitable[None]]
AT = datetime(2026, 1, 5, tzinfo=UTC)


class _Closed(Protocol):
    async def close(self) -> None: ...


@contextlib.asynccontextmanager
async def closing(opened: _Closed) -> AsyncIterator[None]:
    """As the processes do it: once, whatever happened."""
    try:
        yield
    finally:
        await opened.close()


async def use_source(url: str, folder: Path) -> None:
    """Join a group of its own, read, ask what the partitions hold, commit, leave."""
    await _topic_once(url, folder)
    source = await open_source(url, [TOPIC], GroupPolicy(group=f"g-{uuid4().hex[:12]}", heartbeat_seconds=0.3))
    async with closing(source):
        partitions = await _assigned(source)
        await source.facts(partitions)
        for partition in partitions:
            source.seek(partition, 0)
        await source.poll(10, 0.05)
        await source.commit(dict.fromkeys(partitions, 0))


async def _topic_once(url: str, folder: Path) -> None:
    note = folder / "topic"
    if not note.exists():
        await create_missing_topics(parse_kafka_url(url), [TOPIC], 5)
        note.touch()


async def _assigned(source: EventSource) -> frozenset[Partition]:
    async with asyncio.timeout(20):
        while not (partitions := source.assignment()[1]):
            await source.poll(10, 0.02)
    return partitions


async def use_publisher(url: str, _folder: Path) -> None:
    """Publish two messages, ask whether the broker is there."""
    publisher = await open_publisher(url)
    async with closing(publisher):
        await publisher.publish([OutboxMessage(uuid4(), TOPIC, "u1", b"{}", {}, AT) for _ in range(2)])
        await publisher.ping()


async def use_admin(url: str, _folder: Path) -> None:
    """Ask for topics, and for what they are."""
    address = parse_kafka_url(url)
    await create_missing_topics(address, [TOPIC], 5)
    await topic_epochs(address, [TOPIC], 5)


async def use_redis(url: str, _folder: Path) -> None:
    """Read, write, count, bump."""
    cache = await open_cache(f"{url}?timeout_ms=2000", 0)
    async with closing(cache):
        generation = (await cache.read("u1", "v", 1_000_000)).generation
        await cache.write("u1", "v", generation, b"x" * 2_000, 60)
        await cache.hit("k", 1_000_000)
        await cache.bump(["u1"])


async def use_listener(url: str, _folder: Path) -> None:
    """Hear of a bump."""
    cache = await open_cache(f"{url}?timeout_ms=2000", 0)
    async with closing(cache):
        heard = cache.invalidations()
        await anext(heard)
        await cache.bump(["u1"])
        await anext(heard)
        await heard.aclose()  # type: ignore[attr-defined]  # a generator


async def use_postgres(url: str, folder: Path) -> None:
    """Write a batch, read it back, hold a sign of life: on more connections than one."""
    await _use_database(await _migrated(url, folder))


async def use_sqlite(_url: str, folder: Path) -> None:
    """The same on a file."""
    await _use_database(await _migrated(f"sqlite+aiosqlite:///{folder}/encore.db", folder))


async def _migrated(url: str, folder: Path) -> str:
    """The database of this folder, made and migrated the first time."""
    note = folder / "database"
    if not note.exists():
        if url.startswith("postgresql"):
            name = f"encore_cancel_{uuid4().hex[:12]}"
            await asyncio.to_thread(execute, url, f"CREATE DATABASE {name}")
            url = on_database(url, name)
        await asyncio.to_thread(migrate, url)
        note.write_text(url)
    return note.read_text()


async def _use_database(url: str) -> None:
    database = await open_database(url, pool_size=4, timeout_seconds=5, lease_seconds=60)
    async with closing(database):
        await database.ping()
        events = [Interaction(uuid4(), f"u{number}", "i1", Kind.LIKE, AT) for number in range(20)]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(database.interactions.ingest(IngestBatch(events)))
            for number in range(6):
                tasks.create_task(database.interactions.history(f"u{number}", 5))
        await database.outbox.pending()


async def use_s3(url: str, _folder: Path) -> None:
    """Put, list, get and delete; several at once."""
    store = await open_artifact_store(url)
    async with closing(store):
        keys = [f"cancelled/{uuid4().hex}" for _ in range(3)]
        async with asyncio.TaskGroup() as tasks:
            for key in keys:
                tasks.create_task(store.put(key, b"x" * 50_000))
        await store.list("cancelled/")
        async with asyncio.TaskGroup() as tasks:
            for key in keys:
                tasks.create_task(store.get(key, 100_000))
        for key in keys:
            await store.delete(key)


async def use_files(_url: str, folder: Path) -> None:
    """The same in a folder."""
    store = await open_artifact_store(f"file:{folder}/artifacts")
    async with closing(store):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(store.put(f"cancelled/{uuid4().hex}", b"x" * 50_000))
        for key in await store.list("cancelled/"):
            await store.delete(key)


async def use_celery(url: str, _folder: Path) -> None:
    """Ring, and count who waits."""
    jobs = await open_job_queue(url)
    async with closing(jobs):
        await jobs.submit("a training")
        await jobs.depth()


USES: Mapping[str, Use] = {
    "kafka-source": use_source,
    "kafka-publisher": use_publisher,
    "kafka-admin": use_admin,
    "redis": use_redis,
    "redis-listener": use_listener,
    "postgres": use_postgres,
    "sqlite": use_sqlite,
    "s3": use_s3,
    "files": use_files,
    "celery": use_celery,
}


def server_of(kind: str) -> str | None:
    """The server this client talks to; None for a file."""
    return {"sqlite": None, "files": None, "celery": "redis"}.get(kind, kind.partition("-")[0])
