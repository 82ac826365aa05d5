"""The suite of the JobQueue port, run over every adapter through the production opener, with real trainings."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest

from app.domain.entities import FINAL_STATUSES, TrainingStatus
from app.domain.exceptions import BrokerUnavailableError, ConfigurationError
from app.domain.interfaces import JobQueue
from app.infrastructure.jobs import LocalJobQueue, open_job_queue
from app.spans import traced
from benchmarks.kill_training import Rig, open_rig, status_of
from tests.servers.encore import encore

PATIENCE_SECONDS = 60.0


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    rig = await open_rig(tmp_path, "content")
    for name, value in rig.environment.items():
        if name.startswith("ENCORE_"):
            monkeypatch.setenv(name, value)
    yield rig
    await rig.artifacts.close()
    await rig.database.close()


@pytest.fixture(params=["local", pytest.param("redis", marks=pytest.mark.real_servers)])
async def jobs(request: pytest.FixtureRequest, rig: Rig) -> AsyncIterator[JobQueue]:
    if request.param == "local":
        queue = await open_job_queue("local://")
        yield queue
        await queue.close()
        return
    broker: str = request.getfixturevalue("redis_url")
    settings = {name: value for name, value in rig.environment.items() if name.startswith("ENCORE_")}
    worker = encore("worker", ["worker"], {**settings, "ENCORE_JOBS_URL": broker})
    await asyncio.to_thread(worker.start)
    queue = await open_job_queue(broker)
    yield queue
    await queue.close()
    await asyncio.to_thread(worker.stop)


async def until(condition: Callable[[TrainingStatus | None], bool], rig: Rig, training_id: str) -> TrainingStatus:
    deadline = monotonic() + PATIENCE_SECONDS
    while not condition(status := await status_of(rig, training_id)):
        assert monotonic() < deadline, status
        await asyncio.sleep(0.01)
    assert status is not None
    return status


async def test_a_ring_lets_some_worker_run_the_training(rig: Rig, jobs: JobQueue) -> None:
    job, _ = await rig.queue()

    await jobs.submit(job.training_id)

    assert await until(FINAL_STATUSES.__contains__, rig, job.training_id) is TrainingStatus.PROMOTED


async def test_a_training_goes_on_with_the_trace_it_was_asked_for_in(rig: Rig, jobs: JobQueue) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    job, _ = await rig.queue()

    with traced(parent, "t"):
        await jobs.submit(job.training_id)

    await until(FINAL_STATUSES.__contains__, rig, job.training_id)
    messages = await rig.database.outbox.claim(10, datetime.now(UTC), 60.0)
    assert [message.headers for message in messages] == [{"traceparent": parent}] * 2


async def test_ringing_twice_trains_once_and_for_nothing_trains_nothing(rig: Rig, jobs: JobQueue) -> None:
    job, _ = await rig.queue()

    for training_id in ("00000000-0000-4000-8000-000000000000", job.training_id, job.training_id):
        await jobs.submit(training_id)

    assert await until(FINAL_STATUSES.__contains__, rig, job.training_id) is TrainingStatus.PROMOTED
    await jobs.submit(job.training_id)
    deadline = monotonic() + PATIENCE_SECONDS
    while await jobs.depth():
        assert monotonic() < deadline
        await asyncio.sleep(0.01)
    assert len(await rig.database.models.list("content", 10)) == 1


async def test_an_idle_queue_is_empty(jobs: JobQueue) -> None:
    assert await jobs.depth() == 0


@pytest.mark.parametrize("url", ["", "local", "local://x", "amqp://host"])
async def test_an_impossible_url_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ENCORE_JOBS_URL"):
        await open_job_queue(url)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class TestLocalQueue:
    """What only processes of our own can get wrong."""

    async def test_closing_ends_the_running_training_in_order(self, rig: Rig) -> None:
        jobs = await open_job_queue("local://")
        job, _ = await rig.queue()
        await jobs.submit(job.training_id)
        await until(lambda status: status is not TrainingStatus.QUEUED, rig, job.training_id)

        await jobs.close()

        assert await status_of(rig, job.training_id) in {TrainingStatus.CANCELLED, TrainingStatus.PROMOTED}
        with pytest.raises(BrokerUnavailableError):
            await jobs.submit(job.training_id)

    async def test_a_process_that_ignores_sigterm_is_killed(self, tmp_path: Path) -> None:
        jobs = LocalJobQueue("tests.contract.deaf_job", grace_seconds=0.2)
        marker = tmp_path / "began"
        await jobs.submit(str(marker))
        deadline = monotonic() + PATIENCE_SECONDS
        while not marker.exists():
            assert monotonic() < deadline
            await asyncio.sleep(0.01)

        await jobs.close()

        assert not is_alive(int(marker.read_text()))

    async def test_a_training_beyond_its_time_limit_is_ended_and_the_next_begins(self, tmp_path: Path) -> None:
        jobs = LocalJobQueue("tests.contract.deaf_job", grace_seconds=0.2, time_limit_seconds=4.0)
        first, second = tmp_path / "first", tmp_path / "second"
        await jobs.submit(str(first))
        await jobs.submit(str(second))
        deadline = monotonic() + PATIENCE_SECONDS
        while not second.exists():
            assert monotonic() < deadline
            await asyncio.sleep(0.01)

        assert not is_alive(int(first.read_text()))
        await jobs.close()

    async def test_one_process_at_a_time_and_the_others_wait_within_a_bound(self, tmp_path: Path) -> None:
        jobs = LocalJobQueue("tests.contract.deaf_job", grace_seconds=0.2)
        await jobs.submit(str(tmp_path / "first"))
        await asyncio.sleep(0.05)

        for number in range(100):
            await jobs.submit(str(tmp_path / f"waiting-{number}"))

        assert await jobs.depth() == 100
        with pytest.raises(BrokerUnavailableError):
            await jobs.submit(str(tmp_path / "one-too-many"))
        await jobs.close()
        assert not any((tmp_path / f"waiting-{number}").exists() for number in range(100))
        assert await jobs.depth() == 0
