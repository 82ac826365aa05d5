"""One suite for every database: who may train, and what becomes of a training."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.domain.entities import ModelStatus, ModelVersion, OutboxMessage, TrainingJob, TrainingStatus
from app.domain.exceptions import IdempotencyError, NotFoundError, StaleTokenError, TrainingRunningError
from app.domain.stores import Database
from app.infrastructure.database import open_database
from tests.contract.conftest import LEASE_SECONDS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def job(training_id: str, model_type: str = "hybrid", *, seconds: float = 0) -> TrainingJob:
    return TrainingJob(training_id, model_type, TrainingStatus.QUEUED, at(seconds), {"seed": 7})


def message(number: int) -> OutboxMessage:
    return OutboxMessage(UUID(int=number), "started", "hybrid", b"{}", {}, NOON)


async def running(database: Database, training_id: str = "t1") -> TrainingJob:
    """A started job."""
    await database.trainings.create(job(training_id))
    started = await database.trainings.start(training_id, at(1))
    assert started is not None
    return started


async def test_a_job_comes_back_as_it_was_queued(database: Database) -> None:
    queued = TrainingJob(
        "t1", "hybrid", TrainingStatus.QUEUED, NOON, {"a": 1}, start_date=at(-100), end_date=at(-1), metrics={"n": 1.5}
    )

    assert await database.trainings.create(queued) == queued
    assert await database.trainings.get("t1") == queued
    assert await database.trainings.get("t2") is None


async def test_one_training_per_model_type_at_a_time(database: Database) -> None:
    await database.trainings.create(job("t1"))

    with pytest.raises(TrainingRunningError) as refused:
        await database.trainings.create(job("t2"))

    assert refused.value.training_id == "t1"
    assert (await database.trainings.create(job("t3", "ials"))).training_id == "t3"


async def test_of_twenty_requests_at_once_one_gets_the_training(database: Database) -> None:
    results = await asyncio.gather(
        *(database.trainings.create(job(f"t{n}")) for n in range(20)), return_exceptions=True
    )

    assert sum(isinstance(result, TrainingJob) for result in results) == 1
    assert sum(isinstance(result, TrainingRunningError) for result in results) == 19


async def test_a_silent_training_is_failed_when_its_lease_is_over(database: Database) -> None:
    await running(database)
    with pytest.raises(TrainingRunningError):
        await database.trainings.create(job("t2", seconds=LEASE_SECONDS))

    await database.trainings.create(job("t2", seconds=LEASE_SECONDS + 2))

    lost = await database.trainings.get("t1")
    assert lost is not None
    assert (lost.status, lost.reason) == (TrainingStatus.FAILED, "the trainer stopped reporting")


async def test_a_training_whose_process_is_gone_is_not_waited_for(database: Database, database_url: str) -> None:
    other = await open_database(database_url, pool_size=2, timeout_seconds=5, lease_seconds=LEASE_SECONDS)
    await other.trainings.create(job("t1"))
    await other.trainings.start("t1", at(1))
    with pytest.raises(TrainingRunningError):
        await database.trainings.create(job("t2", seconds=10))

    await other.close()  # as the operating system and the server do for a process that was killed
    with pytest.raises(TrainingRunningError):
        await database.trainings.create(job("t2", seconds=2))
    await database.trainings.create(job("t2", seconds=4))

    dead = await database.trainings.get("t1")
    assert dead is not None
    assert (dead.status, dead.reason) == (TrainingStatus.FAILED, "the trainer died")


async def test_a_heartbeat_renews_the_lease(database: Database) -> None:
    started = await running(database)
    assert started.fencing_token is not None
    await database.trainings.heartbeat("t1", started.fencing_token, at(50), "fit", 0.5)

    with pytest.raises(TrainingRunningError):
        await database.trainings.create(job("t2", seconds=100))


async def test_the_same_idempotency_key_returns_the_job_it_made(database: Database) -> None:
    first = await database.trainings.create(job("t1"), "key", "body")

    again = await database.trainings.create(job("t2", seconds=5), "key", "body")

    assert again == first
    with pytest.raises(IdempotencyError):
        await database.trainings.create(job("t3"), "key", "another body")


async def test_the_key_still_answers_when_the_training_is_over(database: Database) -> None:
    await database.trainings.create(job("t1"), "key", "body")
    await database.trainings.cancel("t1", at(1))

    assert (await database.trainings.create(job("t2"), "key", "body")).status is TrainingStatus.CANCELLED


async def test_a_job_starts_once_with_a_rising_token_and_its_messages(database: Database) -> None:
    await database.trainings.create(job("t1"))
    first = await database.trainings.start("t1", at(1), [message(1)])
    again = await database.trainings.start("t1", at(2), [message(2)])
    await database.trainings.cancel("t1", at(3))
    assert first is not None
    assert first.fencing_token is not None
    cancelled = await database.trainings.heartbeat("t1", first.fencing_token, at(4), "fit", 0.1)

    assert again is None
    assert (first.status, first.started_at, first.heartbeat_at) == (TrainingStatus.RUNNING, at(1), at(1))
    assert await database.outbox.pending() == 1
    assert cancelled.cancel_requested
    assert await database.trainings.start("unknown", at(1)) is None


async def test_tokens_rise_from_job_to_job(database: Database) -> None:
    first = await running(database, "t1")
    await database.trainings.finish(_finished(first, TrainingStatus.FAILED))
    second = await running(database, "t2")

    assert first.fencing_token is not None
    assert second.fencing_token is not None
    assert second.fencing_token > first.fencing_token


def _finished(started: TrainingJob, status: TrainingStatus) -> TrainingJob:
    return TrainingJob(
        started.training_id,
        started.model_type,
        status,
        started.created_at,
        fencing_token=started.fencing_token,
        finished_at=at(9),
        stage="done",
        progress=1.0,
        reason="because",
        model_id="m1",
        metrics={"ndcg@10": 0.25},
    )


async def test_finishing_writes_the_verdict_the_model_and_the_messages_together(database: Database) -> None:
    started = await running(database)
    rejected = ModelVersion("m1", "hybrid", 0, ModelStatus.REJECTED, at(9), "t1", None, None, {"ndcg@10": 0.25})

    await database.trainings.finish(_finished(started, TrainingStatus.REJECTED), [message(1)], rejected)

    finished = await database.trainings.get("t1")
    assert finished is not None
    assert (finished.status, finished.reason, finished.metrics) == (
        TrainingStatus.REJECTED,
        "because",
        {"ndcg@10": 0.25},
    )
    assert finished.parameters == {"seed": 7}
    model = await database.models.get("m1")
    assert model is not None
    assert model.version == 1
    assert await database.outbox.pending() == 1


async def test_an_overtaken_trainer_can_neither_report_nor_finish(database: Database) -> None:
    old = await running(database, "t1")
    await database.trainings.create(job("t2", seconds=LEASE_SECONDS + 2))
    model = ModelVersion("m1", "hybrid", 0, ModelStatus.REJECTED, at(9), "t1", None, None)

    assert old.fencing_token is not None
    with pytest.raises(StaleTokenError):
        await database.trainings.heartbeat("t1", old.fencing_token, at(90), "fit", 0.9)
    with pytest.raises(StaleTokenError):
        await database.trainings.finish(_finished(old, TrainingStatus.PROMOTED), [message(1)], model)

    assert await database.models.get("m1") is None
    assert await database.outbox.pending() == 0


async def test_a_queued_job_is_cancelled_at_once_and_frees_its_place(database: Database) -> None:
    await database.trainings.create(job("t1"))

    cancelled = await database.trainings.cancel("t1", at(1))

    assert cancelled is not None
    assert (cancelled.status, cancelled.finished_at) == (TrainingStatus.CANCELLED, at(1))
    assert await database.trainings.start("t1", at(2)) is None
    await database.trainings.create(job("t2"))


async def test_a_final_job_is_not_changed_by_a_cancel(database: Database) -> None:
    started = await running(database)
    await database.trainings.finish(_finished(started, TrainingStatus.FAILED))
    before = await database.trainings.get("t1")

    assert await database.trainings.cancel("t1", at(99)) == before
    assert await database.trainings.cancel("unknown", at(99)) is None


async def test_jobs_are_listed_newest_first_in_pages(database: Database) -> None:
    for n, seconds in enumerate([3, 1, 2, 2]):
        await database.trainings.create(job(f"t{n}", f"type{n}", seconds=seconds))

    first = await database.trainings.list(2)
    second = await database.trainings.list(2, first[-1].training_id)

    assert [one.training_id for one in [*first, *second]] == ["t0", "t3", "t2", "t1"]
    with pytest.raises(NotFoundError):
        await database.trainings.list(2, "unknown")
