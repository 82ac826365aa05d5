"""Follows champion and catalog, and swaps what requests see: one reference, only ever for something verified."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from app import telemetry
from app.application.artifacts.model_artifacts import load_model
from app.application.ranking.candidate_generation import CandidateSource, OpenIndex
from app.application.ranking.serving_state import ServingState
from app.application.serving.serving_builder import ServingBuilder
from app.application.waiting import Backoff, wait_unless
from app.domain.entities import Champion, Item
from app.domain.exceptions import ArtifactError, UnavailableError
from app.domain.interfaces import ArtifactStore
from app.domain.recommender import Recommenders
from app.domain.reranking import RankingPolicy
from app.domain.stores import Database

log = telemetry.get_logger(__name__)

PAGE = 2_000
"""Catalog changes per read: some ten milliseconds of decoding on the event loop."""

MAX_CHANGES = 20_000
"""Changes applied at a time: each application copies the columns of the whole catalog."""

MAX_PAUSE_SECONDS = 15.0
"""Promise: a promotion or a catalog change is noticed within this time, whatever failed before."""


@dataclass(frozen=True, slots=True)
class ServingPolicy:
    """With more items than `index_above`, candidates come from vector indexes instead of scoring everything.

    With `only_with_model` the catalog is not read before there is a champion: for types that may never have one. A
    refused artifact is tried again after `refused_retry_seconds`: what was unreadable may have been repaired. `pinned`
    is the id of a version to follow instead of the champion; its metrics carry the type `TYPE:ROLE`.
    """

    model_type: str = "hybrid"
    model_poll_seconds: float = 2.0
    catalog_poll_seconds: float = 0.5
    refused_retry_seconds: float = 60.0
    only_with_model: bool = False
    index_above: int = 100_000
    ranking_policy: RankingPolicy = field(default_factory=RankingPolicy)
    pinned: str | None = None
    role: str = "shadow"


@dataclass(frozen=True, slots=True)
class Loads:
    """When the served model was loaded, and the one before it; None: there was none."""

    current: datetime | None = None
    previous: datetime | None = None


class ModelServer:
    """`current` is what requests take, once each. Whatever fails, it stays what it was, and the failure is counted."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        recommenders: Recommenders,
        clock: Callable[[], datetime],
        policy: ServingPolicy,
        open_index: OpenIndex,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._recommenders = recommenders
        self._clock = clock
        self._policy = policy
        self._draft = ServingBuilder.empty(policy.index_above, open_index, policy.ranking_policy)
        self._serving = self._draft.serving
        self._label = policy.model_type if policy.pinned is None else f"{policy.model_type}:{policy.role}"
        self._refused: tuple[str, float] | None = None
        self._model_wake = asyncio.Event()
        self._catalog_wake = asyncio.Event()
        self._swapping = asyncio.Lock()
        self._refreshing = asyncio.Lock()
        self.loads = Loads()
        self._failing: dict[str, str] = {}

    @property
    def current(self) -> ServingState:
        """The verified state, immutable: take it once per request."""
        return self._serving

    @property
    def feature_dimensions(self) -> tuple[int, int]:
        """(features of users, features of items) that the served model knows; (0, 0) without one."""
        loaded = self._draft.loaded
        return (0, 0) if loaded is None else (len(loaded.user_feature_names), len(loaded.feature_names))

    def wake(self) -> None:
        """Look for another champion now (a message or a request said there is one)."""
        self._model_wake.set()

    def wake_catalog(self) -> None:
        """Look for catalog changes now."""
        self._catalog_wake.set()

    async def start(self) -> None:
        """Load what there is. A process starts without database, artifacts or model, and says so in its answers."""
        for task, step in (("model", self.refresh_model), ("catalogue", self.refresh_catalog)):
            try:
                await step()
            except UnavailableError as error:
                self._failed(task, error)

    async def follow(self) -> None:
        """Follow champion and catalog until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(
                self._repeat("model", self.refresh_model, self._model_wake, self._policy.model_poll_seconds)
            )
            group.create_task(
                self._repeat("catalogue", self.refresh_catalog, self._catalog_wake, self._policy.catalog_poll_seconds)
            )

    async def refresh_model(self) -> bool:
        """Serve the champion, if it is another; True if it swapped. Raises UnavailableError, and nothing changes.

        An artifact that must not be served is refused, counted, and not tried again for a while.
        """
        async with self._refreshing:  # somebody may ask for it while it is followed up: it is loaded once
            return await self._refreshed()

    async def _refreshed(self) -> bool:
        champion = await self._wanted()
        if champion is None or self._is_served(champion) or self._was_refused(champion):
            return False
        started = time.perf_counter()
        try:
            await self._swap(champion)
        except ArtifactError as error:
            self._refuse(champion, error)
            return False
        except UnavailableError:
            telemetry.MODEL_SWAPS.labels(self._label, "unavailable").inc()
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a new model, the old one serves on
            self._refuse(champion, error)
            return False
        self._swapped(champion, time.perf_counter() - started)
        return True

    async def refresh_catalog(self) -> bool:
        """Take in catalog changes; True if there were any. Raises DatabaseUnavailableError."""
        if self._policy.only_with_model and self._serving.model is None:
            return False
        async with self._swapping:
            draft = await self._caught_up(self._draft)
            if draft is self._draft:
                return False
            self._publish(await asyncio.to_thread(draft.checked))
            return True

    def now(self) -> datetime:
        """By the clock it serves by."""
        return self._clock()

    async def _wanted(self) -> Champion | None:
        if self._policy.pinned is None:
            return await self._database.models.champion(self._policy.model_type)
        model = await self._database.models.get(self._policy.pinned)
        return None if model is None or model.artifact_key is None else Champion(model, 0)

    def _is_served(self, champion: Champion) -> bool:
        served = self._serving.model
        return served is not None and served.model_id == champion.model.model_id

    def _was_refused(self, champion: Champion) -> bool:
        if self._refused is None or self._refused[0] != champion.model.model_id:
            return False
        return time.monotonic() < self._refused[1]

    async def _swap(self, champion: Champion) -> None:
        loaded = await load_model(self._artifacts, champion.model, self._recommenders)
        # Most of the catalog is read beside the old model, so that its updates need not wait.
        draft = await self._caught_up(await asyncio.to_thread(self._draft.with_model, loaded, champion.model))
        async with self._swapping:
            draft = await self._caught_up(draft)
            self._publish(await asyncio.to_thread(draft.checked))

    async def _caught_up(self, draft: ServingBuilder) -> ServingBuilder:
        """The draft after all catalog changes there are; the same object if there are none."""
        while True:
            changes, revision = await self._changes(draft.view.revision)
            if not changes:
                return draft
            upserted = [item for item in changes.values() if item is not None]
            removed = [item_id for item_id, item in changes.items() if item is None]
            draft = await asyncio.to_thread(draft.updated, upserted, removed, revision)

    async def _changes(self, revision: int) -> tuple[Mapping[str, Item | None], int]:
        """Item id → what it is now (None: removed), for up to some 20,000 changes after `revision`; the newest seen."""
        changes: dict[str, Item | None] = {}
        while len(changes) < MAX_CHANGES:
            upserted, removed, newest = await self._database.catalog.items_since(revision, PAGE)
            if not upserted and not removed:
                break
            changes.update({item.item_id: item for item in upserted})
            changes.update(dict.fromkeys(removed))
            revision = newest
        return changes, revision

    def _publish(self, draft: ServingBuilder) -> None:
        if draft.candidates is not None and draft.candidates is not self._draft.candidates:
            self._indexed(draft.candidates)
        self._draft, self._serving = draft, draft.serving

    def _indexed(self, candidates: CandidateSource) -> None:
        """Tell how good the new indexes are."""
        for tower, index in candidates.indexes.items():
            recall = index.facts.get("recall@100")
            if isinstance(recall, float):
                telemetry.VECTOR_INDEX_RECALL.labels(self._label, tower).set(recall)
            log.info("vector_index_built", tower=tower, **index.facts)

    def _swapped(self, champion: Champion, seconds: float) -> None:
        model, label = champion.model, self._label
        self._refused = None
        self.loads = Loads(self._clock(), self.loads.current)
        telemetry.MODEL_SWAPS.labels(label, "swapped").inc()
        telemetry.MODEL_SWAP_SECONDS.labels(label).observe(seconds)
        telemetry.MODEL_VERSION.labels(label).set(model.version)
        telemetry.MODEL_CREATED.labels(label).set(model.created_at.timestamp())
        quality = model.metrics.get("quality")
        for metric, value in quality.items() if isinstance(quality, Mapping) else ():
            telemetry.MODEL_QUALITY.labels(label, metric).set(value)
        log.info("model_swapped", model_id=model.model_id, version=model.version, seconds=round(seconds, 3))

    def _refuse(self, champion: Champion, error: Exception) -> None:
        model_id = champion.model.model_id
        self._refused = (model_id, time.monotonic() + self._policy.refused_retry_seconds)
        telemetry.MODEL_SWAPS.labels(self._label, "refused").inc()
        log.error("model_refused", model_id=model_id, error=type(error).__name__, problem=str(error))

    def _failed(self, task: str, error: Exception) -> None:
        """Every failure is counted; the log says when it begins, when it changes and when it is over."""
        telemetry.BACKGROUND_FAILURES.labels(task).inc()
        if self._failing.get(task) != type(error).__name__:
            self._failing[task] = type(error).__name__
            log.warning("follow_failed", task=task, error=type(error).__name__)

    def _went_well(self, task: str) -> None:
        if self._failing.pop(task, None) is not None:
            log.info("follow_recovered", task=task)

    async def _repeat(
        self, task: str, step: Callable[[], Awaitable[bool]], wake: asyncio.Event, pause_seconds: float
    ) -> None:
        backoff = Backoff(pause_seconds, MAX_PAUSE_SECONDS)
        while True:
            pause = pause_seconds
            wake.clear()
            try:
                await step()
                backoff.reset()
                self._went_well(task)
            except Exception as error:  # noqa: BLE001 - the loop is what keeps a replica up to date: it never ends
                self._failed(task, error)
                pause = max(pause, backoff.next_seconds())
            await wait_unless(wake, pause)
