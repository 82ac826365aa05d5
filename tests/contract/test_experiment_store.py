"""The suites of ExperimentStore and RequestLogStore, run over every adapter through the production opener."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.erasure import Finding
from app.domain.exceptions import NotFoundError
from app.domain.experiments import Arm, Experiment, ExperimentStatus, Metric, assigned, moved
from app.domain.request_log import RequestEntry, ShownItem, is_logged, user_pseudonym
from app.domain.stores import Database
from tests.erasing import person

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DRAFT = Experiment(
    experiment_id="e1",
    name="More variety",
    hypothesis="Variety keeps people watching.",
    layer="lists",
    salt="s1",
    share=0.5,
    arms=(Arm("control", 0.5), Arm("variety", 0.5, list_type="content", diversity=0.4)),
    primary_metric=Metric.HIT_RATE,
    guardrail_metrics=(Metric.EMPTY_SHARE,),
    status=ExperimentStatus.DRAFT,
    buckets=(),
    created_at=NOON,
)


def started(experiment: Experiment, *buckets: tuple[int, int]) -> Experiment:
    return replace(moved(experiment, ExperimentStatus.RUNNING, NOON), buckets=buckets)


async def test_an_experiment_comes_back_as_it_was_stored(database: Database) -> None:
    full = replace(DRAFT, planned_end=NOON + timedelta(days=14, microseconds=7))
    await database.experiments.add(full)

    assert await database.experiments.get("e1") == full
    assert await database.experiments.get("e2") is None


async def test_the_list_is_newest_first_and_has_pages(database: Database) -> None:
    for number in range(5):
        await database.experiments.add(
            replace(DRAFT, experiment_id=f"e{number}", created_at=NOON + timedelta(hours=number // 2))
        )

    first = await database.experiments.list(3)
    rest = await database.experiments.list(3, before=first[-1].experiment_id)

    assert [one.experiment_id for one in (*first, *rest)] == ["e4", "e3", "e2", "e1", "e0"]


async def test_only_running_and_paused_ones_are_active(database: Database) -> None:
    for number in range(4):
        await database.experiments.add(replace(DRAFT, experiment_id=f"e{number}", created_at=NOON + timedelta(number)))
    first = started(replace(DRAFT, experiment_id="e1", created_at=NOON + timedelta(1)), (0, 10))
    await database.experiments.replace(first)
    second = started(replace(DRAFT, experiment_id="e2", created_at=NOON + timedelta(2)), (10, 20))
    await database.experiments.replace(second)
    second = moved(second, ExperimentStatus.PAUSED, NOON)
    await database.experiments.replace(second)
    third = started(replace(DRAFT, experiment_id="e3", created_at=NOON + timedelta(3)), (20, 30))
    await database.experiments.replace(third)
    await database.experiments.replace(moved(third, ExperimentStatus.STOPPED, NOON))

    assert await database.experiments.active() == [first, second]


async def test_of_two_changes_of_one_revision_one_wins(database: Database) -> None:
    await database.experiments.add(DRAFT)
    changes = [started(DRAFT, (0, 10)), moved(DRAFT, ExperimentStatus.STOPPED, NOON)]

    ended = await asyncio.gather(*(database.experiments.replace(one) for one in changes), return_exceptions=True)

    assert sorted(type(one).__name__ for one in ended) == ["ConflictError", "NoneType"]
    stored = await database.experiments.get("e1")
    assert stored == changes[ended.index(None)]


async def test_what_was_never_stored_cannot_be_changed(database: Database) -> None:
    with pytest.raises(NotFoundError):
        await database.experiments.replace(started(DRAFT, (0, 10)))


async def test_two_experiments_of_a_layer_never_share_a_bucket_although_they_start_at_once(database: Database) -> None:
    for name in ("e1", "e2"):
        await database.experiments.add(replace(DRAFT, experiment_id=name))
    starts = [started(replace(DRAFT, experiment_id=name), (0, 6_000)) for name in ("e1", "e2")]

    ended = await asyncio.gather(*(database.experiments.replace(one) for one in starts), return_exceptions=True)

    assert sorted(type(one).__name__ for one in ended) == ["ConflictError", "NoneType"]
    assert len(await database.experiments.active()) == 1


async def test_experiments_of_other_layers_may_have_the_same_buckets(database: Database) -> None:
    other = replace(DRAFT, experiment_id="e2", layer="ranking")
    for one in (DRAFT, other):
        await database.experiments.add(one)
        await database.experiments.replace(started(one, (0, 6_000)))

    assert len(await database.experiments.active()) == 2


# ── the request log ──────────────────────────────────────────────────────────────────────────────────────────────────

SECRET = b"0123456789abcdef0123456789abcdef"
ANNA, BEN = user_pseudonym(SECRET, "anna"), user_pseudonym(SECRET, "ben")
ENTRY = RequestEntry(
    request_id="r1",
    at=NOON,
    user=ANNA,
    surface="recs",
    model_id="m1",
    model_version=3,
    experiment_id="e1",
    variant="variety",
    is_preview=False,
    fallback_reason=None,
    from_cache=True,
    seconds=0.0021,
    items=(ShownItem("v7", 1, 0.93, "collaborative", 1.0), ShownItem("Zoë’s/film", 2, 0.5, "explored", 0.02)),
)
POPULAR = replace(
    ENTRY, request_id="r2", user=None, surface="popular", model_id=None, model_version=None, experiment_id=None
)


async def logged(database: Database, *entries: RequestEntry) -> list[str]:
    """The ids of what is there, read in batches of two."""
    await database.request_log.add(entries)
    batches = database.request_log.read(NOON - timedelta(days=400), NOON + timedelta(days=400), batch=2)
    return [entry.request_id async for batch in batches for entry in batch]


async def test_an_entry_comes_back_as_it_was_logged(database: Database) -> None:
    await database.request_log.add([ENTRY, replace(POPULAR, variant=None, fallback_reason="no_model", items=())])

    assert await database.request_log.get("r1") == ENTRY
    assert await database.request_log.get("r2") == replace(POPULAR, variant=None, fallback_reason="no_model", items=())
    assert await database.request_log.get("r3") is None


async def test_of_a_request_id_that_a_caller_uses_twice_the_newest_entry_is_shown(database: Database) -> None:
    await database.request_log.add([ENTRY, replace(ENTRY, seconds=1.5)])

    found = await database.request_log.get("r1")

    assert found is not None
    assert found.seconds == 1.5


async def test_the_log_is_read_in_order_within_a_window_and_by_experiment(database: Database) -> None:
    entries = [
        replace(ENTRY, request_id=f"r{n}", at=NOON + timedelta(hours=n), experiment_id=f"e{n % 2}") for n in range(6)
    ]
    assert await logged(database, *entries) == [f"r{n}" for n in range(6)]

    window = database.request_log.read(
        NOON + timedelta(hours=1), NOON + timedelta(hours=5), experiment_id="e1", batch=1
    )

    assert [entry.request_id async for batch in window for entry in batch] == ["r1", "r3"]


async def test_an_erased_user_vanishes_and_nobody_else(database: Database) -> None:
    await logged(database, ENTRY, replace(ENTRY, request_id="r3", user=BEN), POPULAR, replace(ENTRY, request_id="r4"))

    found = await database.erasures.remove_people([replace(person("anna"), pseudonym=ANNA)], NOON, NOON)
    assert found["request_log"] == Finding(2, 2, 0)
    later = replace(ENTRY, request_id="r6", at=NOON + timedelta(seconds=1))
    assert await logged(database, replace(ENTRY, request_id="r5"), later) == ["r3", "r2", "r6"]


async def test_old_entries_are_pruned_in_small_batches_oldest_first(database: Database) -> None:
    await logged(database, *(replace(ENTRY, request_id=f"r{n}", at=NOON + timedelta(days=n)) for n in (2, 0, 1, 3)))

    assert await database.request_log.prune(NOON + timedelta(days=2), 1) == 1
    assert await logged(database) == ["r2", "r1", "r3"]
    assert await database.request_log.prune(NOON + timedelta(days=2), 100) == 1
    assert await database.request_log.prune(NOON + timedelta(days=2), 100) == 0


def test_a_pseudonym_says_nothing_without_the_secret_and_a_share_is_a_share_of_users() -> None:
    users = [user_pseudonym(SECRET, f"user-{number}") for number in range(20_000)]

    assert user_pseudonym(b"x" * 32, "anna") != ANNA
    assert len(set(users)) == 20_000
    assert sum(is_logged(user, 0.25) for user in users) / 20_000 == pytest.approx(0.25, abs=0.02)
    assert all(is_logged(user, 1.0) for user in users)
    assert not any(is_logged(user, 0.0) for user in users)
    assert {user for user in users if is_logged(user, 0.1)} <= {user for user in users if is_logged(user, 0.3)}


async def test_everybody_is_in_the_same_arm_after_an_experiment_was_stored(database: Database) -> None:
    running = started(DRAFT, (0, 2_000), (7_000, 8_500))
    await database.experiments.add(running)
    found = await database.experiments.get("e1")
    assert found is not None

    users = [f"user-{number}" for number in range(2_000)]

    assert [assigned(found, user) for user in users] == [assigned(running, user) for user in users]
