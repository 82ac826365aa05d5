"""Trainings over Celery with a real broker: rung once or often, frozen and killed in between, stopped in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest

from app.application.scheduler import Scheduler, Timetable
from app.application.training.model_registry import ModelRegistry
from app.domain.cron import Cron
from app.domain.entities import FINAL_STATUSES, TrainingStatus
from app.domain.exceptions import BrokerUnavailableError
from app.infrastructure.jobs import LocalJobQueue, open_job_queue
from app.models import RECOMMENDERS
from app.tasks.celery_app import Children
from benchmarks.kill_training import Rig, open_rig, status_of, utc_now
from tests.servers.encore import encore
from tests.servers.process import ServerProcess
from tests.servers.server import Server

PATIENCE_SECONDS = 60.0

Start = Callable[..., ServerProcess]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = await open_rig(tmp_path, "content")
    yield rig
    await rig.artifacts.close()
    await rig.database.close()


@pytest.fixture
def start(rig: Rig) -> Iterator[Start]:
    """Starts `encore worker` or `encore beat` on the rig's database; ends them after the test."""
    started: list[ServerProcess] = []

    def start(command: str, broker: str, **settings: str) -> ServerProcess:
        ours = {name: value for name, value in rig.environment.items() if name.startswith("ENCORE_")}
        process = encore(
            f"{command}{len(started)}",
            [command],
            {
                **ours,
                "ENCORE_JOBS_URL": broker,
                "ENCORE_TRAIN_MODEL_TYPE": "content",
                "ENCORE_TRAIN_SCHEDULE": "",
                **settings,
            },
        )
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.stop()
        print(process.log.read_text(errors="replace")[-5_000:])  # noqa: T201  # shown where a test fails


async def until_final(rig: Rig, training_id: str) -> TrainingStatus:
    deadline = monotonic() + PATIENCE_SECONDS
    while (status := await status_of(rig, training_id)) not in FINAL_STATUSES:
        assert monotonic() < deadline, status
        await asyncio.sleep(0.02)
    assert status is not None
    return status


@pytest.mark.real_servers
async def test_twenty_rings_for_two_workers_train_once(rig: Rig, start: Start, redis_url: str) -> None:
    for _ in range(2):
        start("worker", redis_url)
    jobs = await open_job_queue(redis_url)
    job, _ = await rig.queue()

    await asyncio.gather(*(jobs.submit(job.training_id) for _ in range(20)))

    assert await until_final(rig, job.training_id) is TrainingStatus.PROMOTED
    deadline = monotonic() + PATIENCE_SECONDS
    while await jobs.depth():
        assert monotonic() < deadline
        await asyncio.sleep(0.1)
    assert len(await rig.database.models.list("content", 10)) == 1
    assert len(await rig.database.outbox.claim(100, utc_now(), 60.0)) == 2
    await jobs.close()


@pytest.mark.real_servers
async def test_two_beats_train_once_per_slot(rig: Rig, start: Start, redis_url: str) -> None:
    """The slot is the whole day: however many ticks two Beats send, also before and after a restart."""
    midnight = {"ENCORE_TRAIN_SCHEDULE": "0 0 * * *", "ENCORE_SCHEDULE_TICK_SECONDS": "0.3"}
    began = utc_now().date()
    start("worker", redis_url, **midnight)
    beats = [start("beat", redis_url, **midnight) for _ in range(2)]
    deadline = monotonic() + PATIENCE_SECONDS
    while not (made := await rig.database.trainings.list(10)) or made[0].status not in FINAL_STATUSES:
        assert monotonic() < deadline
        await asyncio.sleep(0.05)

    beats[0].kill()
    beats[0].start()
    await asyncio.sleep(5)

    made = await rig.database.trainings.list(10)
    assert len(made) == 1 + (utc_now().date() - began).days
    assert made[-1].status is TrainingStatus.PROMOTED


@pytest.mark.real_servers
async def test_a_worker_hears_again_after_its_broker_was_gone(rig: Rig, start: Start, own_redis: Server) -> None:
    start("worker", own_redis.url)
    jobs = await open_job_queue(own_redis.url)
    first, _ = await rig.queue()
    await jobs.submit(first.training_id)
    assert await until_final(rig, first.training_id) is TrainingStatus.PROMOTED

    own_redis.control.restart()
    second, _ = await rig.queue()
    await jobs.submit(second.training_id)

    assert await until_final(rig, second.training_id) is TrainingStatus.PROMOTED
    await jobs.close()


@pytest.mark.real_servers
async def test_a_broker_that_is_gone_or_frozen_is_told_within_the_deadline(own_redis: Server) -> None:
    jobs = await open_job_queue(own_redis.url)
    await jobs.submit("some-training")
    assert await jobs.depth() == 1

    for hurt, heal in ((own_redis.control.pause, own_redis.control.resume), (own_redis.control.kill, lambda: None)):
        hurt()
        for call in (jobs.submit("another"), jobs.depth()):
            async with asyncio.timeout(30):  # without a deadline of its own it would wait for good
                with pytest.raises(BrokerUnavailableError):
                    await call
        heal()
    await jobs.close()
    with pytest.raises(BrokerUnavailableError):
        await jobs.depth()


@pytest.mark.real_servers
async def test_a_worker_that_is_told_to_stop_ends_its_training_in_order(rig: Rig, start: Start, redis_url: str) -> None:
    worker = start("worker", redis_url, ENCORE_WORKER_STOP_SECONDS="0", ENCORE_LOG_LEVEL="INFO")
    jobs = await open_job_queue(redis_url)
    job, _ = await rig.queue()
    await jobs.submit(job.training_id)
    deadline = monotonic() + PATIENCE_SECONDS
    while await status_of(rig, job.training_id) is TrainingStatus.QUEUED:
        assert monotonic() < deadline
        await asyncio.sleep(0.001)

    await asyncio.to_thread(worker.stop)

    assert await status_of(rig, job.training_id) in {TrainingStatus.CANCELLED, TrainingStatus.PROMOTED}
    await jobs.close()


class TestScheduler:
    """The timetable with a clock of our own: many processes, many ticks."""

    def schedulers(self, rig: Rig, clock: Callable[[], datetime], count: int) -> list[Scheduler]:
        timetable = Timetable(Cron.parse("*/5 * * * *"), Cron.parse("0 4 * * *"), "content", 5)
        return [
            Scheduler(
                rig.database, rig.artifacts, LocalJobQueue("tests.contract.slow_job"), RECOMMENDERS, clock, timetable
            )
            for _ in range(count)
        ]

    async def test_ten_slots_are_ten_trainings_however_often_they_are_ticked(self, rig: Rig) -> None:
        moment = [datetime(2026, 11, 21, 10, 0, tzinfo=UTC)]
        schedulers = self.schedulers(rig, lambda: moment[0], 3)
        for number in range(40):
            moment[0] = datetime(2026, 11, 21, 10, 0, tzinfo=UTC) + timedelta(seconds=75 * number)
            for scheduler in schedulers:
                await scheduler.train(scheduler.timetable.training.latest(moment[0]))  # type: ignore[union-attr]  # it has a training
            for job in await rig.database.trainings.list(100):
                await rig.database.trainings.cancel(job.training_id, moment[0])

        assert len(await rig.database.trainings.list(100)) == 10
        for scheduler in schedulers:
            await scheduler.jobs.close()

    async def test_a_running_training_is_waited_for_and_the_slot_is_not_lost(self, rig: Rig) -> None:
        now = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
        [scheduler] = self.schedulers(rig, lambda: now, 1)
        other, _ = await rig.queue()

        assert await scheduler.train(now) is None
        await rig.database.trainings.cancel(other.training_id, now)
        made = await scheduler.train(now)

        assert made is not None
        assert await scheduler.train(now) is None
        await scheduler.jobs.close()

    async def test_a_tick_removes_old_artifacts_and_leaves_slots_that_are_long_past(self, rig: Rig) -> None:
        now = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
        timetable = Timetable(Cron.parse("0 0 1 1 *"), Cron.parse("* * * * *"), "content", 1)
        jobs = LocalJobQueue("tests.contract.slow_job")
        scheduler = Scheduler(rig.database, rig.artifacts, jobs, RECOMMENDERS, lambda: now, timetable)

        await scheduler.tick()
        await scheduler.tick()

        assert await rig.database.trainings.list(10) == []
        assert scheduler.slots == {"retention": now}
        assert list(await ModelRegistry(rig.database, rig.artifacts, RECOMMENDERS, utc_now).list()) == []
        await jobs.close()


class TestChildren:
    """The processes of a worker."""

    def test_a_training_beyond_its_time_limit_is_ended(self) -> None:
        began = monotonic()

        code = Children("tests.contract.slow_job").run("x", 0.5)

        assert code == -signal.SIGTERM
        assert monotonic() - began < 10.0

    def test_nothing_starts_once_the_worker_is_stopping(self) -> None:
        children = Children("tests.contract.slow_job")
        children.stop()

        assert children.run("x", 1.0) is None
