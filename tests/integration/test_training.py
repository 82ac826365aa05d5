"""The training pipeline over a real database and real artifacts: what is promoted, and what is left when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID, uuid5

import msgspec
import numpy as np
import pytest

from app.application.artifacts.model_artifacts import load_model
from app.application.demo.demo_data import HISTORY, DemoData, generate
from app.application.ranking.candidate_generation import OpenIndex
from app.application.training.comparison import TrainingPolicy
from app.application.training.model_registry import ModelRegistry
from app.application.training.model_training import (
    Trainer,
    TrainingRequest,
    queue_training,
    request_training,
    requeue_pending,
)
from app.domain.entities import Interaction, ModelStatus, OutboxMessage, TrainingJob, TrainingStatus
from app.domain.exceptions import (
    ArtifactError,
    BrokerUnavailableError,
    ConflictError,
    InputError,
    NotFoundError,
    StaleTokenError,
    TrainingRunningError,
)
from app.domain.interfaces import ArtifactStore
from app.domain.stores import Database, IngestBatch
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from app.infrastructure.jobs import LocalJobQueue
from app.infrastructure.storage import open_artifact_store
from app.infrastructure.vector_store import IndexPolicy, open_good_index
from app.models import RECOMMENDERS

ANCHOR = datetime(2025, 10, 20, tzinfo=UTC)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TYPE = "content"
POLICY = TrainingPolicy(budget_seconds=5.0, heartbeat_seconds=0.05, keep_versions=2)


@dataclass
class TrainingService:
    """A database, artifacts and a trainer, with a clock that a test moves."""

    database: Database
    artifacts: ArtifactStore
    folder: Path
    now: datetime = NOW
    policy: TrainingPolicy = POLICY
    open_index: OpenIndex | None = None

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def trainer(self, seed: int = 0) -> Trainer:
        return Trainer(
            self.database,
            self.artifacts,
            RECOMMENDERS,
            self.clock,
            self.policy,
            seed=seed,
            code_version="test",
            open_index=self.open_index,
        )

    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.database, self.artifacts, RECOMMENDERS, self.clock)

    async def queue(self, request: TrainingRequest | None = None) -> TrainingJob:
        return await queue_training(self.database, RECOMMENDERS, self.clock, request or TrainingRequest(TYPE))

    async def train(self, request: TrainingRequest | None = None, seed: int = 0) -> TrainingJob:
        return await self.trainer(seed).run((await self.queue(request)).training_id)

    async def ingest(self, interactions: Sequence[Interaction]) -> None:
        await self.database.interactions.ingest(IngestBatch(interactions))

    async def champion_id(self) -> str | None:
        champion = await self.database.models.champion(TYPE)
        return None if champion is None else champion.model.model_id

    async def sent(self) -> Sequence[OutboxMessage]:
        return await self.database.outbox.claim(100, self.clock(), 60.0)

    def files(self) -> set[str]:
        return {path.parent.name for path in self.folder.rglob("manifest.json")}


@pytest.fixture(scope="module")
def data() -> DemoData:
    return generate(ANCHOR, n_items=100, n_users=100)


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[TrainingService]:
    url = f"sqlite+aiosqlite:///{tmp_path}/encore.db"
    migrate(url)
    database = await open_database(url, pool_size=5, timeout_seconds=5.0, lease_seconds=60.0)
    artifacts = await open_artifact_store(f"file://{tmp_path}/artifacts")
    yield TrainingService(database, artifacts, tmp_path / "artifacts")
    await artifacts.close()
    await database.close()


@pytest.fixture
async def service(empty: TrainingService, data: DemoData) -> TrainingService:
    await empty.database.catalog.upsert_items(data.items)
    await empty.database.catalog.upsert_users(data.users)
    await empty.ingest(data.interactions)
    return empty


def shuffled(interactions: Sequence[Interaction], later: timedelta, seed: int = 3) -> list[Interaction]:
    """The same events some time later, each with the item of another one."""
    order = np.random.default_rng(seed).permutation(len(interactions))
    return [
        replace(
            event,
            event_id=uuid5(UUID(int=seed), str(event.event_id)),
            item_id=interactions[other].item_id,
            occurred_at=event.occurred_at + later,
        )
        for event, other in zip(interactions, order.tolist(), strict=True)
    ]


async def test_the_first_model_that_beats_popularity_becomes_champion(service: TrainingService) -> None:
    job = await service.train()

    assert job.status is TrainingStatus.PROMOTED, job.reason
    assert job == replace(await the_job(service, job.training_id), heartbeat_at=job.heartbeat_at)
    champion = await service.database.models.champion(TYPE)
    assert champion is not None
    assert (champion.epoch, champion.model.model_id, champion.model.version) == (1, job.model_id, 1)
    loaded = await load_model(service.artifacts, champion.model, RECOMMENDERS)
    assert len(loaded.item_ids) == 100
    assert loaded.manifest.facts["window"]["interactions"] == await service.database.interactions.count()


async def test_what_vector_indexes_over_a_large_model_find_stands_in_its_manifest(service: TrainingService) -> None:
    service.policy = replace(POLICY, index_above=50)
    service.open_index = partial(open_good_index, IndexPolicy("sq"))
    await service.train()

    champion = await service.database.models.champion(TYPE)
    assert champion is not None
    loaded = await load_model(service.artifacts, champion.model, RECOMMENDERS)
    facts = loaded.manifest.facts["indexes"][TYPE]
    assert facts["kind"] == "sq"
    assert 0.9 <= facts["recall@100"] <= 1.0


async def the_job(service: TrainingService, training_id: str) -> TrainingJob:
    job = await service.database.trainings.get(training_id)
    assert job is not None
    return job


async def test_candidate_and_popularity_are_told_side_by_side(service: TrainingService) -> None:
    job = await service.train()
    await service.train()
    second = (await service.database.trainings.list(1))[0]

    for name in ("candidate", "popularity"):
        summary = job.metrics[name]
        assert isinstance(summary, dict)
        assert set(summary["metrics"]["ndcg@10"]) == {"mean", "low", "high"}
        assert "recall@20" in summary["metrics"]
    assert job.metrics["champion"] is None
    assert second.metrics["champion"] is not None


async def test_start_and_end_are_told_once_and_in_order(service: TrainingService) -> None:
    job = await service.train()

    started, completed = await service.sent()
    assert started.topic == "recommendation-service.model-training-started"
    assert completed.topic == "recommendation-service.model-training-completed"
    told = msgspec.json.decode(completed.payload)
    assert (told["training_id"], told["model_id"], told["status"]) == (job.training_id, job.model_id, "success")
    assert set(told["metrics"]) == {"ndcg@10", "recall@20", "coverage"}
    model = await service.database.models.get(told["model_id"])
    assert model is not None
    assert told["artifact_path"] == model.artifact_key
    assert msgspec.json.decode(started.payload)["model_id"] == job.model_id


@pytest.mark.parametrize("name", ["als", "bpr", "lightfm"])
async def test_models_of_the_libraries_are_trained_judged_and_restored(service: TrainingService, name: str) -> None:
    ended = await service.train(TrainingRequest(name))

    assert ended.status in {TrainingStatus.PROMOTED, TrainingStatus.REJECTED}, ended.reason
    assert ended.model_id is not None
    model = await service.database.models.get(ended.model_id)
    assert model is not None
    assert model.model_type == name
    if ended.status is TrainingStatus.PROMOTED:
        loaded = await load_model(service.artifacts, model, RECOMMENDERS)
        assert loaded.recommender.name == name


async def test_the_same_seed_gives_the_same_artifact_hash_twice(service: TrainingService) -> None:
    hashes = [await artifact_hash(service, await service.train()) for _ in range(2)]

    assert hashes[0] == hashes[1]


async def artifact_hash(service: TrainingService, job: TrainingJob) -> str | None:
    assert job.model_id is not None, job.reason
    return (await service.registry().show(job.model_id)).manifest_sha256


async def test_a_training_on_shuffled_labels_is_rejected_and_the_champion_serves_on(
    service: TrainingService, data: DemoData
) -> None:
    good = await service.train()
    await service.ingest(shuffled(data.interactions, HISTORY))

    bad = await service.train()

    assert bad.status is TrainingStatus.REJECTED
    assert bad.reason is not None
    assert "does not beat" in bad.reason
    assert await service.champion_id() == good.model_id
    row = await service.registry().show(str(bad.model_id))
    assert (row.status, row.artifact_key) == (ModelStatus.REJECTED, None)
    assert service.files() == {f"000001-{good.training_id}"}
    told = msgspec.json.decode((await service.sent())[-1].payload)
    assert (told["status"], told["artifact_path"], told["reason"]) == ("failed", None, bad.reason)


async def test_shuffled_labels_do_not_make_a_first_champion_either(empty: TrainingService, data: DemoData) -> None:
    await empty.database.catalog.upsert_items(data.items)
    await empty.ingest(shuffled(data.interactions, timedelta(0)))

    job = await empty.train()

    assert job.status is TrainingStatus.REJECTED
    assert "does not beat popularity" in str(job.reason)
    assert await empty.champion_id() is None


async def test_a_champion_that_has_not_seen_the_hold_out_is_judged_as_it_is(
    service: TrainingService, data: DemoData
) -> None:
    cut = sorted(event.occurred_at for event in data.interactions)[int(len(data.interactions) * 0.8)]
    first = await service.train(TrainingRequest(TYPE, end_date=cut))
    second = await service.train()
    third = await service.train()

    assert first.metrics["champion_as"] is None
    assert second.metrics["champion_as"] == "served"
    assert third.metrics["champion_as"] == "refitted"


async def test_a_champion_without_its_artifact_is_judged_by_its_recipe(
    service: TrainingService, data: DemoData
) -> None:
    cut = sorted(event.occurred_at for event in data.interactions)[int(len(data.interactions) * 0.8)]
    await service.train(TrainingRequest(TYPE, end_date=cut))
    for path in service.folder.rglob("model.safetensors"):
        path.write_bytes(b"damaged")

    second = await service.train()

    assert second.metrics["champion_as"] == "refitted"


async def test_less_data_than_the_champion_had_is_no_reason_to_replace_it(
    service: TrainingService, data: DemoData
) -> None:
    good = await service.train()
    cut = sorted(event.occurred_at for event in data.interactions)[len(data.interactions) // 2]

    job = await service.train(TrainingRequest(TYPE, end_date=cut))

    assert job.status is TrainingStatus.REJECTED
    assert "more or newer data" in str(job.reason)
    assert await service.champion_id() == good.model_id


async def test_a_catalog_that_has_shrunk_is_refused(service: TrainingService, data: DemoData) -> None:
    good = await service.train()
    champion = await service.database.models.champion(TYPE)
    assert champion is not None
    service.policy = replace(POLICY, min_catalog_share=1.5)

    job = await service.train()

    assert job.status is TrainingStatus.REJECTED
    assert "the catalog has shrunk" in str(job.reason)
    assert await service.champion_id() == good.model_id


async def test_without_data_a_training_fails_with_the_reason(empty: TrainingService) -> None:
    job = await empty.train()

    assert job.status is TrainingStatus.FAILED
    assert "no interactions" in str(job.reason)
    assert (job.model_id, await empty.champion_id()) == (None, None)
    assert msgspec.json.decode((await empty.sent())[-1].payload)["status"] == "failed"


async def test_a_running_training_can_be_cancelled(service: TrainingService) -> None:
    job = await service.queue()
    seen = asyncio.Event()
    running = asyncio.create_task(service.trainer().run(job.training_id, lambda stage, fraction: seen.set()))
    await asyncio.wait_for(seen.wait(), 60)
    await service.database.trainings.cancel(job.training_id, service.clock())

    ended = await running

    # It may have been past the last point where it looks; then it is whole.
    assert ended.status in (TrainingStatus.CANCELLED, TrainingStatus.PROMOTED)
    assert ended.status is (await the_job(service, job.training_id)).status
    if ended.status is TrainingStatus.CANCELLED:
        assert await service.champion_id() is None


async def test_a_trainer_that_is_told_to_stop_marks_its_job_as_cancelled(service: TrainingService) -> None:
    job = await service.queue()
    seen = asyncio.Event()
    running = asyncio.create_task(service.trainer().run(job.training_id, lambda stage, fraction: seen.set()))
    await asyncio.wait_for(seen.wait(), 60)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running

    assert (await the_job(service, job.training_id)).status is TrainingStatus.CANCELLED
    assert await service.champion_id() is None
    assert (await service.train()).status is TrainingStatus.PROMOTED


async def test_a_training_that_is_not_queued_is_returned_as_it_is(service: TrainingService) -> None:
    job = await service.train()

    assert (await service.trainer().run(job.training_id)).status is TrainingStatus.PROMOTED
    assert len(await service.sent()) == 2
    with pytest.raises(NotFoundError):
        await service.trainer().run("nothing")


async def test_two_rings_for_one_training_train_once(service: TrainingService) -> None:
    job = await service.queue()

    ended = await asyncio.gather(*(service.trainer().run(job.training_id) for _ in range(2)))

    assert TrainingStatus.PROMOTED in {each.status for each in ended}
    assert len(await service.registry().list()) == 1
    assert len(await service.sent()) == 2


async def test_an_overtaken_trainer_writes_nothing(service: TrainingService) -> None:
    job = await service.queue()
    started = await service.database.trainings.start(job.training_id, service.clock())
    assert started is not None
    service.now += timedelta(minutes=5)
    newer = await service.train()
    assert newer.status is TrainingStatus.PROMOTED

    for write in (
        service.database.trainings.finish(replace(started, status=TrainingStatus.PROMOTED)),
        service.database.models.promote(
            str(newer.model_id), token=started.fencing_token, expected=newer.model_id, at=service.clock(), job=started
        ),
    ):
        with pytest.raises(StaleTokenError):
            await write

    assert (await the_job(service, job.training_id)).status is TrainingStatus.FAILED
    assert await service.champion_id() == newer.model_id


async def test_a_promotion_by_hand_overtakes_a_running_training(service: TrainingService) -> None:
    first, second = await service.train(), await service.train()
    job = await service.queue()
    seen = asyncio.Event()
    running = asyncio.create_task(service.trainer().run(job.training_id, lambda stage, fraction: seen.set()))
    await asyncio.wait_for(seen.wait(), 60)

    await service.registry().promote(str(first.model_id))
    ended = await running

    assert ended.status is TrainingStatus.FAILED
    assert await service.champion_id() == first.model_id
    assert second.model_id != first.model_id


async def test_only_the_last_versions_keep_their_artifacts(service: TrainingService) -> None:
    jobs = [await service.train() for _ in range(4)]

    assert service.files() == {f"00000{number}-{jobs[number - 1].training_id}" for number in (3, 4)}
    assert (await service.registry().show(str(jobs[0].model_id))).artifact_key is None


async def test_what_a_dead_training_left_behind_goes_with_the_next_one(service: TrainingService) -> None:
    dead = await service.queue()
    await service.database.trainings.start(dead.training_id, service.clock())
    await service.artifacts.put(f"models/{TYPE}/000001-{dead.training_id}/model.safetensors", b"half")
    await service.artifacts.put(f"models/{TYPE}/000001-somebody-elses/model.safetensors", b"whole")
    with pytest.raises(TrainingRunningError):
        await service.queue()
    service.now += timedelta(minutes=5)

    await service.train()

    left = await service.artifacts.list("models/")
    assert not [key for key in left if dead.training_id in key]
    assert [key for key in left if "somebody-elses" in key]


async def test_impossible_requests_are_refused(service: TrainingService) -> None:
    for request in (TrainingRequest("magic"), TrainingRequest(TYPE, start_date=NOW, end_date=NOW)):
        with pytest.raises(InputError):
            await service.queue(request)


async def test_a_closed_queue_refuses_and_leaves_nothing_queued(service: TrainingService) -> None:
    jobs = LocalJobQueue()
    await jobs.close()

    with pytest.raises(BrokerUnavailableError):
        await request_training(service.database, jobs, RECOMMENDERS, service.clock, TrainingRequest(TYPE))

    assert (await service.database.trainings.list(1))[0].status is TrainingStatus.CANCELLED
    await service.queue()


async def test_queued_trainings_of_a_process_that_is_gone_are_rung_for_again(service: TrainingService) -> None:
    await service.queue()
    jobs = LocalJobQueue("tests.integration.no_such_module")

    assert await requeue_pending(service.database, jobs) == 1
    await jobs.close()


class TestRegistry:
    async def test_an_older_version_can_be_promoted_and_rolled_back(self, service: TrainingService) -> None:
        first, second = await service.train(), await service.train()
        registry = service.registry()

        assert (await registry.promote(str(first.model_id))).epoch == 3
        assert (await registry.promote(str(first.model_id))).epoch == 3
        assert await service.champion_id() == first.model_id
        await registry.promote(str(second.model_id))
        assert (await registry.rollback(TYPE)).model.model_id == first.model_id
        listed = {model.model_id: model.status for model in await registry.list()}
        assert listed == {first.model_id: ModelStatus.CHAMPION, second.model_id: ModelStatus.RETIRED}

    async def test_there_is_nothing_behind_the_first_champion(self, service: TrainingService) -> None:
        with pytest.raises(NotFoundError):
            await service.registry().rollback(TYPE)
        await service.train()
        with pytest.raises(NotFoundError):
            await service.registry().rollback(TYPE)

    async def test_an_unknown_model_cannot_be_promoted(self, service: TrainingService) -> None:
        with pytest.raises(NotFoundError):
            await service.registry().promote("nothing")

    async def test_a_damaged_artifact_is_never_promoted(self, service: TrainingService) -> None:
        first, second = await service.train(), await service.train()
        for path in (service.folder / f"models/{TYPE}").glob("000001-*/ids.json"):
            path.write_bytes(path.read_bytes() + b" ")

        with pytest.raises(ArtifactError):
            await service.registry().promote(str(first.model_id))
        assert await service.champion_id() == second.model_id

    async def test_rejected_models_and_those_without_artifact_are_never_promoted(
        self, service: TrainingService, data: DemoData
    ) -> None:
        old, _, _ = await service.train(), await service.train(), await service.train()
        await service.ingest(shuffled(data.interactions, HISTORY))
        rejected = await service.train()

        for job in (rejected, old):
            with pytest.raises(ConflictError):
                await service.registry().promote(str(job.model_id))
