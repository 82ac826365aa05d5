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

from app.application.artifacts.artifacts import load_model
from app.application.demo.demo_data import HISTORY, DemoData, generate
from app.application.recommending.candidates import OpenIndex
from app.application.training.judging import TrainingPolicy
from app.application.training.model_registry import Registry
from app.application.training.model_training import (
    Trainer,
    TrainingRequest,
    queue_training,
    request_training,
    ring_for_queued,
)
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
from app.domain.models import Interaction, ModelStatus, OutboxMessage, TrainingJob, TrainingStatus
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
class House:
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

    def registry(self) -> Registry:
        return Registry(self.database, self.artifacts, RECOMMENDERS, self.clock)

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
async def empty(tmp_path: Path) -> AsyncIterator[House]:
    url = f"sqlite+aiosqlite:///{tmp_path}/encore.db"
    migrate(url)
    database = await open_database(url, pool_size=5, timeout_seconds=5.0, lease_seconds=60.0)
    artifacts = await open_artifact_store(f"file://{tmp_path}/artifacts")
    yield House(database, artifacts, tmp_path / "artifacts")
    await artifacts.close()
    await database.close()


@pytest.fixture
async def house(empty: House, data: DemoData) -> House:
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


async def test_the_first_model_that_beats_popularity_becomes_champion(house: House) -> None:
    job = await house.train()

    assert job.status is TrainingStatus.PROMOTED, job.reason
    assert job == replace(await the_job(house, job.training_id), heartbeat_at=job.heartbeat_at)
    champion = await house.database.models.champion(TYPE)
    assert champion is not None
    assert (champion.epoch, champion.model.model_id, champion.model.version) == (1, job.model_id, 1)
    loaded = await load_model(house.artifacts, champion.model, RECOMMENDERS)
    assert len(loaded.item_ids) == 100
    assert loaded.manifest.facts["window"]["interactions"] == await house.database.interactions.count()


async def test_what_vector_indexes_over_a_large_model_find_stands_in_its_manifest(house: House) -> None:
    house.policy = replace(POLICY, index_above=50)
    house.open_index = partial(open_good_index, IndexPolicy("sq"))
    await house.train()

    champion = await house.database.models.champion(TYPE)
    assert champion is not None
    loaded = await load_model(house.artifacts, champion.model, RECOMMENDERS)
    facts = loaded.manifest.facts["indexes"][TYPE]
    assert facts["kind"] == "sq"
    assert 0.9 <= facts["recall@100"] <= 1.0


async def the_job(house: House, training_id: str) -> TrainingJob:
    job = await house.database.trainings.get(training_id)
    assert job is not None
    return job


async def test_candidate_and_popularity_are_told_side_by_side(house: House) -> None:
    job = await house.train()
    await house.train()
    second = (await house.database.trainings.list(1))[0]

    for name in ("candidate", "popularity"):
        summary = job.metrics[name]
        assert isinstance(summary, dict)
        assert set(summary["metrics"]["ndcg@10"]) == {"mean", "low", "high"}
        assert "recall@20" in summary["metrics"]
    assert job.metrics["champion"] is None
    assert second.metrics["champion"] is not None


async def test_start_and_end_are_told_once_and_in_order(house: House) -> None:
    job = await house.train()

    started, completed = await house.sent()
    assert started.topic == "recommendation-service.model-training-started"
    assert completed.topic == "recommendation-service.model-training-completed"
    told = msgspec.json.decode(completed.payload)
    assert (told["training_id"], told["model_id"], told["status"]) == (job.training_id, job.model_id, "success")
    assert set(told["metrics"]) == {"ndcg@10", "recall@20", "coverage"}
    model = await house.database.models.get(told["model_id"])
    assert model is not None
    assert told["artifact_path"] == model.artifact_key
    assert msgspec.json.decode(started.payload)["model_id"] == job.model_id


async def test_the_same_seed_gives_the_same_artifact_hash_twice(house: House) -> None:
    hashes = [await artifact_hash(house, await house.train()) for _ in range(2)]

    assert hashes[0] == hashes[1]


async def artifact_hash(house: House, job: TrainingJob) -> str | None:
    assert job.model_id is not None, job.reason
    return (await house.registry().show(job.model_id)).manifest_sha256


async def test_a_training_on_shuffled_labels_is_rejected_and_the_champion_serves_on(
    house: House, data: DemoData
) -> None:
    good = await house.train()
    await house.ingest(shuffled(data.interactions, HISTORY))

    bad = await house.train()

    assert bad.status is TrainingStatus.REJECTED
    assert bad.reason is not None
    assert "does not beat" in bad.reason
    assert await house.champion_id() == good.model_id
    row = await house.registry().show(str(bad.model_id))
    assert (row.status, row.artifact_key) == (ModelStatus.REJECTED, None)
    assert house.files() == {f"000001-{good.training_id}"}
    told = msgspec.json.decode((await house.sent())[-1].payload)
    assert (told["status"], told["artifact_path"], told["reason"]) == ("failed", None, bad.reason)


async def test_shuffled_labels_do_not_make_a_first_champion_either(empty: House, data: DemoData) -> None:
    await empty.database.catalog.upsert_items(data.items)
    await empty.ingest(shuffled(data.interactions, timedelta(0)))

    job = await empty.train()

    assert job.status is TrainingStatus.REJECTED
    assert "does not beat popularity" in str(job.reason)
    assert await empty.champion_id() is None


async def test_a_champion_that_has_not_seen_the_hold_out_is_judged_as_it_is(house: House, data: DemoData) -> None:
    cut = sorted(event.occurred_at for event in data.interactions)[int(len(data.interactions) * 0.8)]
    first = await house.train(TrainingRequest(TYPE, end_date=cut))
    second = await house.train()
    third = await house.train()

    assert first.metrics["champion_as"] is None
    assert second.metrics["champion_as"] == "served"
    assert third.metrics["champion_as"] == "refitted"


async def test_a_champion_without_its_artifact_is_judged_by_its_recipe(house: House, data: DemoData) -> None:
    cut = sorted(event.occurred_at for event in data.interactions)[int(len(data.interactions) * 0.8)]
    await house.train(TrainingRequest(TYPE, end_date=cut))
    for path in house.folder.rglob("model.safetensors"):
        path.write_bytes(b"damaged")

    second = await house.train()

    assert second.metrics["champion_as"] == "refitted"


async def test_less_data_than_the_champion_had_is_no_reason_to_replace_it(house: House, data: DemoData) -> None:
    good = await house.train()
    cut = sorted(event.occurred_at for event in data.interactions)[len(data.interactions) // 2]

    job = await house.train(TrainingRequest(TYPE, end_date=cut))

    assert job.status is TrainingStatus.REJECTED
    assert "more or newer data" in str(job.reason)
    assert await house.champion_id() == good.model_id


async def test_a_catalogue_that_has_shrunk_is_refused(house: House, data: DemoData) -> None:
    good = await house.train()
    champion = await house.database.models.champion(TYPE)
    assert champion is not None
    house.policy = replace(POLICY, min_catalogue_share=1.5)

    job = await house.train()

    assert job.status is TrainingStatus.REJECTED
    assert "the catalogue has shrunk" in str(job.reason)
    assert await house.champion_id() == good.model_id


async def test_without_data_a_training_fails_with_the_reason(empty: House) -> None:
    job = await empty.train()

    assert job.status is TrainingStatus.FAILED
    assert "no interactions" in str(job.reason)
    assert (job.model_id, await empty.champion_id()) == (None, None)
    assert msgspec.json.decode((await empty.sent())[-1].payload)["status"] == "failed"


async def test_a_running_training_can_be_cancelled(house: House) -> None:
    job = await house.queue()
    seen = asyncio.Event()
    running = asyncio.create_task(house.trainer().run(job.training_id, lambda stage, fraction: seen.set()))
    await asyncio.wait_for(seen.wait(), 30)
    await house.database.trainings.cancel(job.training_id, house.clock())

    ended = await running

    # It may have been past the last point where it looks; then it is whole.
    assert ended.status in (TrainingStatus.CANCELLED, TrainingStatus.PROMOTED)
    assert ended.status is (await the_job(house, job.training_id)).status
    if ended.status is TrainingStatus.CANCELLED:
        assert await house.champion_id() is None


async def test_a_trainer_that_is_told_to_stop_marks_its_job_as_cancelled(house: House) -> None:
    job = await house.queue()
    seen = asyncio.Event()
    running = asyncio.create_task(house.trainer().run(job.training_id, lambda stage, fraction: seen.set()))
    await asyncio.wait_for(seen.wait(), 30)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running

    assert (await the_job(house, job.training_id)).status is TrainingStatus.CANCELLED
    assert await house.champion_id() is None
    assert (await house.train()).status is TrainingStatus.PROMOTED


async def test_a_training_that_is_not_queued_is_returned_as_it_is(house: House) -> None:
    job = await house.train()

    assert (await house.trainer().run(job.training_id)).status is TrainingStatus.PROMOTED
    assert len(await house.sent()) == 2
    with pytest.raises(NotFoundError):
        await house.trainer().run("nothing")


async def test_two_rings_for_one_training_train_once(house: House) -> None:
    job = await house.queue()

    ended = await asyncio.gather(*(house.trainer().run(job.training_id) for _ in range(2)))

    assert TrainingStatus.PROMOTED in {each.status for each in ended}
    assert len(await house.registry().list()) == 1
    assert len(await house.sent()) == 2


async def test_an_overtaken_trainer_writes_nothing(house: House) -> None:
    job = await house.queue()
    started = await house.database.trainings.start(job.training_id, house.clock())
    assert started is not None
    house.now += timedelta(minutes=5)
    newer = await house.train()
    assert newer.status is TrainingStatus.PROMOTED

    for write in (
        house.database.trainings.finish(replace(started, status=TrainingStatus.PROMOTED)),
        house.database.models.promote(
            str(newer.model_id), token=started.fencing_token, expected=newer.model_id, at=house.clock(), job=started
        ),
    ):
        with pytest.raises(StaleTokenError):
            await write

    assert (await the_job(house, job.training_id)).status is TrainingStatus.FAILED
    assert await house.champion_id() == newer.model_id


async def test_a_promotion_by_hand_overtakes_a_running_training(house: House) -> None:
    first, second = await house.train(), await house.train()
    job = await house.queue()
    seen = asyncio.Event()
    running = asyncio.create_task(house.trainer().run(job.training_id, lambda stage, fraction: seen.set()))
    await asyncio.wait_for(seen.wait(), 30)

    await house.registry().promote(str(first.model_id))
    ended = await running

    assert ended.status is TrainingStatus.FAILED
    assert await house.champion_id() == first.model_id
    assert second.model_id != first.model_id


async def test_only_the_last_versions_keep_their_artifacts(house: House) -> None:
    jobs = [await house.train() for _ in range(4)]

    assert house.files() == {f"00000{number}-{jobs[number - 1].training_id}" for number in (3, 4)}
    assert (await house.registry().show(str(jobs[0].model_id))).artifact_key is None


async def test_what_a_dead_training_left_behind_goes_with_the_next_one(house: House) -> None:
    dead = await house.queue()
    await house.database.trainings.start(dead.training_id, house.clock())
    await house.artifacts.put(f"models/{TYPE}/000001-{dead.training_id}/model.safetensors", b"half")
    await house.artifacts.put(f"models/{TYPE}/000001-somebody-elses/model.safetensors", b"whole")
    with pytest.raises(TrainingRunningError):
        await house.queue()
    house.now += timedelta(minutes=5)

    await house.train()

    left = await house.artifacts.list("models/")
    assert not [key for key in left if dead.training_id in key]
    assert [key for key in left if "somebody-elses" in key]


async def test_impossible_requests_are_refused(house: House) -> None:
    for request in (TrainingRequest("magic"), TrainingRequest(TYPE, start_date=NOW, end_date=NOW)):
        with pytest.raises(InputError):
            await house.queue(request)


async def test_a_closed_queue_refuses_and_leaves_nothing_queued(house: House) -> None:
    jobs = LocalJobQueue()
    await jobs.close()

    with pytest.raises(BrokerUnavailableError):
        await request_training(house.database, jobs, RECOMMENDERS, house.clock, TrainingRequest(TYPE))

    assert (await house.database.trainings.list(1))[0].status is TrainingStatus.CANCELLED
    await house.queue()


async def test_queued_trainings_of_a_process_that_is_gone_are_rung_for_again(house: House) -> None:
    await house.queue()
    jobs = LocalJobQueue("tests.integration.no_such_module")

    assert await ring_for_queued(house.database, jobs) == 1
    await jobs.close()


class TestRegistry:
    async def test_an_older_version_can_be_promoted_and_rolled_back(self, house: House) -> None:
        first, second = await house.train(), await house.train()
        registry = house.registry()

        assert (await registry.promote(str(first.model_id))).epoch == 3
        assert (await registry.promote(str(first.model_id))).epoch == 3
        assert await house.champion_id() == first.model_id
        await registry.promote(str(second.model_id))
        assert (await registry.rollback(TYPE)).model.model_id == first.model_id
        listed = {model.model_id: model.status for model in await registry.list()}
        assert listed == {first.model_id: ModelStatus.CHAMPION, second.model_id: ModelStatus.RETIRED}

    async def test_there_is_nothing_behind_the_first_champion(self, house: House) -> None:
        with pytest.raises(NotFoundError):
            await house.registry().rollback(TYPE)
        await house.train()
        with pytest.raises(NotFoundError):
            await house.registry().rollback(TYPE)

    async def test_an_unknown_model_cannot_be_promoted(self, house: House) -> None:
        with pytest.raises(NotFoundError):
            await house.registry().promote("nothing")

    async def test_a_damaged_artifact_is_never_promoted(self, house: House) -> None:
        first, second = await house.train(), await house.train()
        for path in (house.folder / f"models/{TYPE}").glob("000001-*/ids.json"):
            path.write_bytes(path.read_bytes() + b" ")

        with pytest.raises(ArtifactError):
            await house.registry().promote(str(first.model_id))
        assert await house.champion_id() == second.model_id

    async def test_rejected_models_and_those_without_artifact_are_never_promoted(
        self, house: House, data: DemoData
    ) -> None:
        old, _, _ = await house.train(), await house.train(), await house.train()
        await house.ingest(shuffled(data.interactions, HISTORY))
        rejected = await house.train()

        for job in (rejected, old):
            with pytest.raises(ConflictError):
                await house.registry().promote(str(job.model_id))
