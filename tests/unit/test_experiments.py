"""Who is in which arm, and what an experiment allows: uniform, sticky, independent, the same everywhere."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from app.domain.exceptions import ConflictError, InputError
from app.domain.experiments import (
    BUCKETS,
    Arm,
    Experiment,
    ExperimentStatus,
    Metric,
    Ranges,
    allocated,
    assigned,
    bucket_of,
    checked,
    moved,
    overlap,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUNNING = Experiment(
    experiment_id="e1",
    name="More variety",
    hypothesis="Variety keeps people watching.",
    layer="lists",
    salt="e1-salt",
    share=0.5,
    arms=(Arm("control", 0.5), Arm("variety", 0.5, diversity=0.4)),
    primary_metric=Metric.HIT_RATE,
    guardrail_metrics=(Metric.EMPTY_SHARE,),
    status=ExperimentStatus.RUNNING,
    buckets=((0, 5_000),),
    created_at=NOON,
)


def arm_of(experiment: Experiment, user_id: str) -> str | None:
    assignment = assigned(experiment, user_id)
    return None if assignment is None else assignment.arm.name


def test_buckets_are_uniform_over_two_hundred_thousand_users() -> None:
    counted = np.bincount([bucket_of("lists", f"user-{number}") // 100 for number in range(200_000)], minlength=100)

    assert stats.chisquare(counted).pvalue > 0.001


def test_layers_know_nothing_of_one_another() -> None:
    users = [f"user-{number}" for number in range(100_000)]
    in_layers = [[bucket_of(layer, user) for user in users] for layer in ("lists", "ranking")]

    assert abs(np.corrcoef(np.array(in_layers))[0, 1]) < 0.01


def test_a_bucket_is_the_same_in_another_process() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", "from app.domain.experiments import bucket_of; print(bucket_of('lists', 'Zoë'))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert int(printed.stdout) == bucket_of("lists", "Zoë")


def test_salts_and_ids_never_run_into_one_another() -> None:
    assert len({bucket_of("ab", "c"), bucket_of("a", "bc"), bucket_of("", "abc")}) == 3


def test_half_of_the_users_are_in_and_half_of_those_in_each_arm() -> None:
    arms = [arm_of(RUNNING, f"user-{number}") for number in range(20_000)]

    assert arms.count(None) / 20_000 == pytest.approx(0.5, abs=0.02)
    assert arms.count("variety") / 20_000 == pytest.approx(0.25, abs=0.02)


def test_a_share_that_grows_keeps_everybody_who_was_in_in_the_same_arm() -> None:
    small = replace(RUNNING, buckets=allocated((), [((200, 700),)], 0.1))
    large = replace(small, buckets=allocated(small.buckets, [((200, 700),)], 0.5))
    users = [f"user-{number}" for number in range(20_000)]
    before = {user: arm for user in users if (arm := arm_of(small, user)) is not None}

    assert len(before) == pytest.approx(2_000, rel=0.1)
    assert {user: arm_of(large, user) for user in before} == before
    assert sum(arm_of(large, user) is not None for user in users) == pytest.approx(10_000, rel=0.05)


@pytest.mark.parametrize("status", [status for status in ExperimentStatus if status is not ExperimentStatus.RUNNING])
def test_only_a_running_experiment_has_anybody_in_it(status: ExperimentStatus) -> None:
    everybody = replace(RUNNING, buckets=((0, BUCKETS),), status=status)

    assert arm_of(everybody, "u") is None
    assert arm_of(replace(everybody, status=ExperimentStatus.RUNNING), "u") is not None


@given(st.lists(st.floats(0.0005, 0.4), min_size=1, max_size=12))
def test_no_bucket_ever_belongs_to_two_experiments(shares: list[float]) -> None:
    taken: list[Ranges] = []
    for share in shares:
        try:
            taken.append(allocated((), taken, share))
        except ConflictError:
            assert round(share * BUCKETS) + sum(end - start for one in taken for start, end in one) > BUCKETS
    used = sorted(one for ranges in taken for one in ranges)
    assert all(before[1] <= after[0] for before, after in pairwise(used))
    assert all(0 <= start < end <= BUCKETS for start, end in used)


def test_ranges_that_only_touch_do_not_overlap() -> None:
    assert overlap(((0, 5),), ((4, 9),))
    assert not overlap(((0, 5),), ((5, 9),))
    assert not overlap((), ((0, 9),))


def test_a_layer_that_is_full_says_so_and_a_share_never_shrinks() -> None:
    with pytest.raises(ConflictError):
        allocated((), [((0, 9_000),)], 0.2)
    with pytest.raises(InputError):
        allocated(((0, 5_000),), [], 0.4)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (replace(RUNNING, name=" "), "/name"),
        (replace(RUNNING, name="a\x00b"), "/name"),
        (replace(RUNNING, name="x" * 101), "/name"),
        (replace(RUNNING, layer=""), "/layer"),
        (replace(RUNNING, share=0.0), "/share"),
        (replace(RUNNING, share=float("nan")), "/share"),
        (replace(RUNNING, arms=RUNNING.arms[:1]), "/arms"),
        (replace(RUNNING, arms=tuple(Arm(f"a{n}", 0.0001) for n in range(10_000))), "/arms"),
        (replace(RUNNING, arms=(Arm("control", 0.5), Arm("b", 0.4))), "/arms"),
        (replace(RUNNING, arms=(Arm("control", 0.5), Arm("control", 0.5))), "/arms"),
        (replace(RUNNING, arms=(Arm("a", 0.5), Arm("control", 0.5))), "/arms/0/name"),
        (replace(RUNNING, arms=(Arm("control", 0.5), Arm("b\n", 0.5))), "/arms/1/name"),
        (replace(RUNNING, arms=(Arm("control", 1.5), Arm("b", -0.5))), "/arms/0/share"),
        (replace(RUNNING, guardrail_metrics=(Metric.HIT_RATE,)), "/guardrail_metrics"),
        (replace(RUNNING, planned_end=NOON - timedelta(days=1)), "/planned_end"),
    ],
)
def test_what_cannot_be_run_is_refused_by_field(changed: Experiment, field: str) -> None:
    assert checked(RUNNING) == RUNNING
    with pytest.raises(InputError) as refused:
        checked(changed)
    assert refused.value.field == field


def test_an_experiment_starts_pauses_goes_on_and_stops_for_good() -> None:
    draft = replace(RUNNING, status=ExperimentStatus.DRAFT)
    started = moved(draft, ExperimentStatus.RUNNING, NOON)
    paused = moved(started, ExperimentStatus.PAUSED, NOON + timedelta(hours=1))
    again = moved(paused, ExperimentStatus.RUNNING, NOON + timedelta(hours=2))
    stopped = moved(again, ExperimentStatus.STOPPED, NOON + timedelta(hours=3))

    assert (again.started_at, again.revision) == (NOON, 4)
    assert (stopped.stopped_at, stopped.buckets) == (NOON + timedelta(hours=3), ())
    for status in ExperimentStatus:
        with pytest.raises(ConflictError):
            moved(stopped, status, NOON)
    with pytest.raises(ConflictError):
        moved(draft, ExperimentStatus.PAUSED, NOON)
