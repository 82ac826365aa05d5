"""Trainings in processes of their own: killed, frozen, told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest

from app.domain.entities import TrainingStatus
from app.tasks.training import DONE, FAILED, STOPPED, USAGE, main
from benchmarks.kill_training import (
    Rig,
    Tally,
    after_running_for,
    check,
    is_promoted,
    one_round,
    open_rig,
    part_is_written,
    row_is_added,
    status_of,
)

PATIENCE_SECONDS = 60.0
LOCK_FREE_SECONDS = 30.0


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = await open_rig(tmp_path, "content")
    yield rig
    await rig.artifacts.close()
    await rig.database.close()


async def running(rig: Rig) -> tuple[str, asyncio.subprocess.Process]:
    """A training that has begun."""
    job, _ = await rig.queue()
    process = await rig.spawn(job.training_id)
    deadline = monotonic() + PATIENCE_SECONDS
    while await status_of(rig, job.training_id) is TrainingStatus.QUEUED:
        assert monotonic() < deadline
        await asyncio.sleep(0.001)
    return job.training_id, process


@pytest.mark.slow
async def test_a_killed_training_leaves_nothing_half_done_and_can_be_repeated(rig: Rig) -> None:
    tally = Tally()

    await one_round(rig, tally, "while it computes", after_running_for(0.05))
    await one_round(rig, tally, "first part written", part_is_written("model.safetensors"))
    await one_round(rig, tally, "row added", row_is_added)

    assert tally.problems == []
    assert max(tally.lock_seconds) < LOCK_FREE_SECONDS


@pytest.mark.slow
async def test_a_frozen_trainer_cannot_overwrite_the_one_that_came_after_it(tmp_path: Path) -> None:
    # A frozen process still shows that it lives: only the end of its lease lets somebody else begin.
    rig = await open_rig(tmp_path, "content", lease_seconds=2.0)
    frozen_id, frozen = await running(rig)
    frozen.send_signal(signal.SIGSTOP)
    try:
        newer, _ = await rig.queue()
        assert await (await rig.spawn(newer.training_id)).wait() == DONE
    finally:
        frozen.send_signal(signal.SIGCONT)

    assert await asyncio.wait_for(frozen.wait(), PATIENCE_SECONDS) == FAILED
    assert await is_promoted(rig, newer.training_id)
    assert await status_of(rig, frozen_id) is TrainingStatus.FAILED
    tally = Tally()
    await check(rig, tally, "thawed")
    assert tally.problems == []
    await rig.artifacts.close()
    await rig.database.close()


async def test_sigterm_cancels_in_order(rig: Rig) -> None:
    training_id, process = await running(rig)

    process.terminate()

    assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == STOPPED
    assert await status_of(rig, training_id) is TrainingStatus.CANCELLED
    assert await rig.database.models.champion("content") is None


async def test_an_unknown_training_is_a_failure_and_a_finished_one_is_not(rig: Rig) -> None:
    assert await (await rig.spawn("nothing")).wait() == FAILED
    job, _ = await rig.queue()
    assert await (await rig.spawn(job.training_id)).wait() == DONE
    assert await (await rig.spawn(job.training_id)).wait() == DONE
    assert len(await rig.database.models.list("content", 10)) == 1


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--help"]])
def test_wrong_usage_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == USAGE
    assert "usage" in capsys.readouterr().err


def test_impossible_settings_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ENCORE_TRAIN_SEDE", "1")

    assert main(["some-training"]) == USAGE
    assert "ENCORE_TRAIN_SEDE" in capsys.readouterr().err
