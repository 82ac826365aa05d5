"""A small world on the embedded adapters: two tastes, a few items, a fitted blend, and everything that serves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from app.application.artifacts.model_artifacts import save_model
from app.application.catalog_service import CatalogService
from app.application.experimentation.request_recorder import RequestRecorder
from app.application.ingestion.http_ingestion import EventIngestion, EventOutcome
from app.application.invalidation.list_invalidation import ListInvalidator
from app.application.ranking.list_ranking import Ranker, rank_list
from app.application.recommending.list_policy import ListPolicy
from app.application.recommending.recommendation_service import RecommendationService
from app.application.recommending.refresh_events import RefreshListener, no_op_listener
from app.application.serving.model_routing import ModelRouting
from app.application.serving.model_server import ModelServer, ServingPolicy
from app.application.serving.pinned_models import PinnedModels
from app.application.serving_stack import ServingStack
from app.domain.dataset import Dataset
from app.domain.entities import (
    EventColumns,
    IngestResult,
    Interaction,
    Item,
    ModelStatus,
    ModelVersion,
    PairState,
    SourceOffset,
)
from app.domain.exceptions import CacheUnavailableError, DatabaseUnavailableError
from app.domain.interfaces import ArtifactStore, Cache, CacheReply
from app.domain.reranking import RankingPolicy
from app.domain.signals import SignalPolicy, dataset_from
from app.domain.stores import Database, IngestBatch, InteractionStore
from app.infrastructure.cache.memory_cache import MemoryCache
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from app.infrastructure.storage import open_artifact_store
from app.infrastructure.vector_store import open_vector_index
from app.models import RECOMMENDERS

PLAIN = ListPolicy()
NO_RULES = RankingPolicy()
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
BLEND: Mapping[str, object] = {
    "members": {"content": {}, "popularity": {}},
    "weights": {"content": [0.0, 1.0], "popularity": [1.0, 0.05]},
    "knots": [0, 1],
}
GENRES = ("Crime", "Comedy")
ITEMS = tuple(
    Item(f"{genre.lower()}-{number:02}", NOW, f"{genre} {genre[:2]}{number}", genres=(genre,), year=year + number)
    for genre, year in zip(GENRES, (1950, 2000), strict=True)
    for number in range(20)
)


@dataclass
class Clock:
    """Stands still unless told."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


def rated(user_id: str, item_id: str, rating: float = 5.0, minute: int = 0) -> dict[str, object]:
    """A rating of yesterday."""
    at = NOW - timedelta(days=1) + timedelta(minutes=minute)
    return {"user_id": user_id, "video_id": item_id, "rating": rating, "timestamp": at.isoformat()}


class Switch:
    """Whether a dependency answers."""

    is_on: bool = True


class SwitchedInteractions(InteractionStore):
    """The store itself, until it is switched off."""

    def __init__(self, store: InteractionStore, switch: Switch) -> None:
        self._store = store
        self._switch = switch
        self.bulk_rows = store.bulk_rows

    def _reachable(self) -> InteractionStore:
        if not self._switch.is_on:
            raise DatabaseUnavailableError
        return self._store

    async def ingest(self, batch: IngestBatch) -> IngestResult:
        return await self._reachable().ingest(batch)

    async def known_ids(self, user_id: str, event_ids: Collection[UUID]) -> Collection[UUID]:
        return await self._reachable().known_ids(user_id, event_ids)

    async def history(self, user_id: str, limit: int) -> Sequence[PairState]:
        return await self._reachable().history(user_id, limit)

    async def columns(self, since: datetime | None, until: datetime | None) -> EventColumns:
        return await self._reachable().columns(since, until)

    def export(self, batch_size: int = 5_000) -> AsyncIterator[Sequence[Interaction]]:
        return self._reachable().export(batch_size)

    async def users_since(self, sequence: int, limit: int) -> tuple[Collection[str], int]:
        return await self._reachable().users_since(sequence, limit)

    async def offsets(self, topic: str) -> Sequence[SourceOffset]:
        return await self._reachable().offsets(topic)

    async def count(self) -> int:
        return await self._reachable().count()

    async def misplaced(self) -> int:
        return await self._reachable().misplaced()

    async def popular(self, since: datetime, limit: int) -> Sequence[tuple[str, float]]:
        return await self._reachable().popular(since, limit)


class SwitchedCache(MemoryCache):
    """The memory cache, until it is switched off."""

    switch: Switch

    def _check(self) -> None:
        if not self.switch.is_on:
            raise CacheUnavailableError

    async def read(self, user_id: str, variant: str, limit_per_minute: int | None, limit_key: str = "") -> CacheReply:
        self._check()
        return await super().read(user_id, variant, limit_per_minute, limit_key)

    async def write(self, *args: Any, **kwargs: Any) -> bool:
        self._check()
        return await super().write(*args, **kwargs)

    async def bump(self, user_ids: Collection[str]) -> None:
        self._check()
        await super().bump(user_ids)


@dataclass
class Hooks:
    """What ranks, and who hears of lists made anew: tests put something else in. `pinned`: by arms."""

    rank: Ranker = rank_list
    refreshed: RefreshListener = no_op_listener
    pinned: Collection[str] = ()


@dataclass
class World:
    """The ports and what stands on them."""

    database: Database
    cache: Cache
    artifacts: ArtifactStore
    stack: ServingStack
    clock: Clock
    database_switch: Switch
    cache_switch: Switch
    hooks: Hooks
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10_000)))

    @property
    def server(self) -> ModelServer:
        return self.stack.server

    @property
    def lists(self) -> RecommendationService:
        return self.stack.lists

    async def rate(self, user_id: str, *item_ids: str) -> Sequence[EventOutcome]:
        """Five stars for each, the first one newest."""
        events = [rated(user_id, item_id, minute=-minute) for minute, item_id in enumerate(item_ids)]
        return await self.stack.events.ingest(events)

    async def populate(self) -> None:
        """40 items; 10 lovers of crime and 6 of comedy, each with 4 ratings; low numbers are rated most."""
        await self.database.catalog.upsert_items(ITEMS)
        for genre, fans in zip(GENRES, (10, 6), strict=True):
            for fan in range(fans):
                picks = sorted({(fan * step) % 20 for step in range(4)} | {0})
                await self.rate(f"{genre.lower()}-fan-{fan}", *(f"{genre.lower()}-{pick:02}" for pick in picks))

    async def dataset(self) -> Dataset:
        """All there is, as training sees it."""
        columns = await self.database.interactions.columns(None, None)
        items = await self.database.catalog.list_items(None, 1_000)
        users = await self.database.catalog.list_users(None, 1_000)
        return dataset_from(columns, SignalPolicy(), NOW, items, users)

    async def train(
        self, parameters: Mapping[str, object] = BLEND, name: str = "hybrid", model_type: str = "hybrid"
    ) -> ModelVersion:
        """Fit, save, register and promote."""
        dataset = await self.dataset()
        recommender = RECOMMENDERS.build(name, parameters)
        recommender.fit(dataset, seed=0, progress=lambda _stage, _fraction: None)
        assert dataset.item_features is not None
        profiles = () if dataset.user_features is None else dataset.user_features.names
        number = next(self.numbers)
        key, sha256 = await save_model(
            self.artifacts,
            f"models/{model_type}/{number}",
            recommender,
            dataset.items,
            dataset.item_features.names,
            {"number": number},
            user_feature_names=profiles,
        )
        model = ModelVersion(f"model-{number}", model_type, number, ModelStatus.CANDIDATE, NOW, None, key, sha256)
        added = await self.database.models.add(model)
        await self.promote(added.model_id, model_type)
        return added

    async def promote(self, model_id: str, model_type: str = "hybrid") -> None:
        """Make it the champion."""
        champion = await self.database.models.champion(model_type)
        expected = None if champion is None else champion.model.model_id
        await self.database.models.promote(model_id, token=None, expected=expected, at=NOW)


@asynccontextmanager
async def open_world(
    folder: Path, policy: ListPolicy = PLAIN, index_above: int = 100_000, ranking_policy: RankingPolicy = NO_RULES
) -> AsyncIterator[World]:
    """On SQLite, process memory and files, with whatever the folder holds."""
    url = f"sqlite+aiosqlite:///{folder}/encore.db"
    if not (folder / "encore.db").exists():
        migrate(url)
    database = await open_database(url, pool_size=4, timeout_seconds=5, lease_seconds=60)
    database_switch, cache_switch = Switch(), Switch()
    database.interactions = SwitchedInteractions(database.interactions, database_switch)
    cache = SwitchedCache(8_388_608)
    cache.switch = cache_switch
    artifacts = await open_artifact_store(f"file:{folder}/artifacts")
    clock = Clock()

    def follower(model_type: str, *, only_with_model: bool, model_id: str | None = None) -> ModelServer:
        serving = ServingPolicy(
            model_type,
            0.05,
            0.05,
            index_above=index_above,
            only_with_model=only_with_model,
            ranking_policy=ranking_policy,
            pinned=model_id,
            role="pinned",
        )
        return ModelServer(database, artifacts, RECOMMENDERS, clock, serving, partial(open_vector_index, "flat"))

    server = follower("hybrid", only_with_model=False)
    by_type = {"collaborative": follower("collaborative", only_with_model=True)}
    hooks = Hooks()
    pinned = PinnedModels(
        database.canaries,
        lambda: hooks.pinned,
        lambda model_id: follower("hybrid", only_with_model=True, model_id=model_id),
        0.05,
    )
    lists = RecommendationService(
        database,
        cache,
        ModelRouting(server, by_type, pinned),
        clock,
        policy,
        lambda serving, task, now: hooks.rank(serving, task, now),
        lambda user_id, serving, ranked: hooks.refreshed(user_id, serving, ranked),
    )
    renewal = ListInvalidator(database.interactions, cache, lists.forget, 0.05)
    events = EventIngestion(database.interactions, renewal, clock)
    log_of_lists = RequestRecorder(database.request_log, b"secret for tests", 1.0)
    catalog = CatalogService(database.catalog, renewal, clock, server.wake_catalog, log_of_lists.erase)
    stack = ServingStack(server, by_type, lists, renewal, events, catalog, pinned=pinned)
    try:
        yield World(database, cache, artifacts, stack, clock, database_switch, cache_switch, hooks)
    finally:
        await stack.close()
        await artifacts.close()
        await cache.close()
        await database.close()


@asynccontextmanager
async def following(world: World) -> AsyncIterator[None]:
    """The background loops, while inside."""
    loops = asyncio.create_task(world.stack.follow())
    try:
        yield
    finally:
        loops.cancel()
        await asyncio.gather(loops, return_exceptions=True)
