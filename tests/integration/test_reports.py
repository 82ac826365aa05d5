"""Reports from slot to gauge: rung for once a slot, worked out by a process of its own, stored, shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic

import pytest
from typer.testing import CliRunner

from app import telemetry
from app.application.reporting.model_quality import ModelEvaluator
from app.application.reporting.report_gauges import watch_reports
from app.application.reporting.reporter import EVALUATION, KPIS, Reporter, job_name, parse_job
from app.application.scheduler import Scheduler, Timetable, tick_for_ever
from app.application.serving.model_server import ModelServer, ServingPolicy
from app.application.training.comparison import TrainingPolicy
from app.cli import app
from app.domain.cron import Cron
from app.domain.exceptions import InputError
from app.domain.interfaces import JobQueue
from app.infrastructure.jobs import LocalJobQueue
from app.infrastructure.vector_store import open_vector_index
from app.models import RECOMMENDERS
from app.tasks.training import DONE, FAILED
from benchmarks.kill_training import ANCHOR, Rig, open_rig

SLOT = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
PATIENCE_SECONDS = 60.0


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = await open_rig(tmp_path, "content")
    rig.environment["ENCORE_TRAIN_MODEL_TYPE"] = "content"
    yield rig
    await rig.artifacts.close()
    await rig.database.close()


def reporter(rig: Rig, now: datetime = ANCHOR) -> Reporter:
    judge = ModelEvaluator(rig.database, rig.artifacts, RECOMMENDERS, lambda: now, TrainingPolicy(), seed=0)
    return Reporter(rig.database, judge, lambda: now, "content", kpi_days=30)


async def train(rig: Rig) -> None:
    job, _ = await rig.queue()
    assert await (await rig.spawn(job.training_id)).wait() == DONE


def sample(name: str, labels: Mapping[str, str] | None = None) -> float | None:
    return telemetry.REGISTRY.get_sample_value(name, dict(labels or {}))


async def test_the_kpis_are_those_of_the_stored_interactions(rig: Rig) -> None:
    report = await reporter(rig).run(KPIS, SLOT)

    assert report is not None
    since = await rig.database.interactions.columns(ANCHOR - timedelta(days=30), ANCHOR)
    assert report.figures["interactions"] == len(since.user) > 100
    assert report.figures["active_users"] == len(since.user_ids)
    assert report.figures["catalogue_items"] == 150
    assert await reporter(rig).run(KPIS, SLOT) is None


async def test_the_champion_is_judged_on_the_present_hold_out_and_shown(rig: Rig) -> None:
    await train(rig)

    report = await reporter(rig).run(EVALUATION, SLOT)

    champion = await rig.database.models.champion("content")
    assert report is not None
    assert champion is not None
    assert report.model_id == champion.model.model_id
    # The training judged the same recipe on the same cut of the same events.
    assert report.figures["quality"] == champion.model.metrics["quality"]
    assert report.figures["judged_as"] == "refitted"

    policy = ServingPolicy("content")
    open_index = partial(open_vector_index, "flat")
    server = ModelServer(rig.database, rig.artifacts, RECOMMENDERS, lambda: ANCHOR, policy, open_index)
    await server.refresh_model()
    watching = asyncio.create_task(watch_reports(rig.database, period_seconds=0.02))
    of_ndcg = {"model_type": "content", "metric": "ndcg@10"}
    async with asyncio.timeout(60):
        while sample("encore_model_evaluated_timestamp_seconds", {"model_type": "content"}) != ANCHOR.timestamp():  # noqa: ASYNC110 - as a scraper would look
            await asyncio.sleep(0.01)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    measured = champion.model.metrics["quality"]
    assert isinstance(measured, Mapping)
    assert sample("encore_model_quality", of_ndcg) == measured["ndcg@10"]
    assert sample("encore_model_current_quality", of_ndcg) == measured["ndcg@10"]


async def test_what_cannot_be_worked_out_is_told_once_a_slot(rig: Rig) -> None:
    report = await reporter(rig).run(EVALUATION, SLOT)

    assert report is not None
    assert "champion" in str(report.figures["problem"])
    assert not await rig.database.reports.is_due(EVALUATION, SLOT, ANCHOR)


async def test_a_report_is_made_by_a_process_that_is_rung_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue, module and exit codes of trainings; here on `local://`."""
    for name, value in rig.environment.items():
        if name.startswith("ENCORE_"):
            monkeypatch.setenv(name, value)
    jobs = LocalJobQueue()
    await jobs.submit(job_name(KPIS, SLOT))
    deadline = monotonic() + PATIENCE_SECONDS
    while (report := await rig.database.reports.latest(KPIS)) is None:
        assert monotonic() < deadline
        await asyncio.sleep(0.05)
    await jobs.close()

    assert report.slot == SLOT
    assert await (await rig.spawn(job_name(KPIS, SLOT))).wait() == DONE
    assert await (await rig.spawn("weather@2026-11-21T03:00+00:00")).wait() == FAILED


class Bell(LocalJobQueue):
    """A queue that remembers who was rung for and starts nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.rung: list[str] = []

    async def submit(self, training_id: str) -> None:
        self.rung.append(training_id)


class TestScheduler:
    """Reports by the clock."""

    def scheduler(self, rig: Rig, jobs: JobQueue, moment: list[datetime], since: datetime = SLOT) -> Scheduler:
        reports = {KPIS: Cron.parse("*/5 * * * *"), EVALUATION: Cron.parse("*/5 * * * *")}
        timetable = Timetable(None, None, "content", 5, reports, since)
        return Scheduler(rig.database, rig.artifacts, jobs, RECOMMENDERS, lambda: moment[0], timetable)

    async def test_ten_slots_are_ten_runs_however_many_schedulers_tick(self, rig: Rig) -> None:
        """T3: two that tick side by side, one of them a new process after every slot."""
        moment, bell, runs = [SLOT], Bell(), 0
        steady = self.scheduler(rig, bell, moment)
        for number in range(20):
            moment[0] = SLOT + timedelta(seconds=150 * number)
            for scheduler in (steady, self.scheduler(rig, bell, moment)):
                await scheduler.tick()
            rung, bell.rung = bell.rung, []
            for job in rung:
                name, slot = parse_job(job) or pytest.fail(job)
                runs += name == KPIS and await reporter(rig).run(name, slot) is not None

        assert runs == 10

    async def test_a_ring_that_was_lost_is_repeated_after_a_while(self, rig: Rig) -> None:
        moment, bell = [SLOT + timedelta(seconds=1)], Bell()
        scheduler = self.scheduler(rig, bell, moment)
        for seconds in (1, 20, 40, 70):
            moment[0] = SLOT + timedelta(seconds=seconds)
            await scheduler.tick()

        assert bell.rung == [job_name(name, SLOT) for name in (KPIS, EVALUATION)] * 2

    async def test_slots_before_the_start_of_a_process_without_beat_are_left_alone(self, rig: Rig) -> None:
        moment, bell = [SLOT + timedelta(minutes=3)], Bell()
        scheduler = self.scheduler(rig, bell, moment, since=moment[0])
        ticking = asyncio.create_task(tick_for_ever(scheduler, 0.01))
        await asyncio.sleep(0.2)
        assert bell.rung == []

        moment[0] = SLOT + timedelta(minutes=6)
        async with asyncio.timeout(60):
            while len(bell.rung) < 2:  # noqa: ASYNC110 - the loop under test is the one that acts
                await asyncio.sleep(0.01)
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
        assert bell.rung == [job_name(name, SLOT + timedelta(minutes=5)) for name in (KPIS, EVALUATION)]


@pytest.mark.parametrize("job", ["weather@2026-11-21T03:00+00:00", "kpis@yesterday", "kpis@2026-11-21T03:00"])
def test_a_job_nobody_knows_is_refused(job: str) -> None:
    with pytest.raises(InputError):
        parse_job(job)


def test_a_job_is_a_report_with_its_slot_or_the_id_of_a_training() -> None:
    assert parse_job(job_name(KPIS, SLOT)) == (KPIS, SLOT)
    assert parse_job("0b6f8f4e-5ff5-4f0e-9a3c-000000000000") is None


async def test_the_command_shows_the_last_report_or_makes_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rig.environment.items():
        if name.startswith("ENCORE_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("ENCORE_KPI_DAYS", "366")

    def shown(*options: str) -> dict[str, object]:
        done = CliRunner().invoke(app, ["kpis", "--json", *options])
        assert done.exit_code == 0, done.output
        found: dict[str, object] = json.loads(done.stdout)
        return found

    first = await asyncio.to_thread(shown)
    assert isinstance(first["figures"], dict)
    assert first["figures"]["interactions"] > 1_000
    assert await asyncio.to_thread(shown) == first
    assert (await asyncio.to_thread(shown, "--now"))["slot"] != first["slot"]
