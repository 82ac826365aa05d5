"""One suite for every database: versions, and a champion that moves by compare-and-swap."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.domain.entities import (
    Champion,
    ModelStatus,
    ModelVersion,
    OutboxMessage,
    TrainingJob,
    TrainingStatus,
)
from app.domain.exceptions import ConflictError, NotFoundError, StaleTokenError
from app.domain.stores import Database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def model(model_id: str, model_type: str = "hybrid", *, artifact: bool = True, minutes: int = 0) -> ModelVersion:
    key = f"models/{model_type}/{model_id}" if artifact else None
    made = NOON + timedelta(minutes=minutes)
    return ModelVersion(model_id, model_type, 0, ModelStatus.CANDIDATE, made, "t1", key, "f" * 64, {"n": 1}, {"p": [1]})


async def promote(database: Database, model_id: str, expected: str | None) -> Champion:
    return await database.models.promote(model_id, token=None, expected=expected, at=NOON)


async def three_champions(database: Database) -> None:
    """m1, then m2, then m3 in charge."""
    for n, expected in [(1, None), (2, "m1"), (3, "m2")]:
        await database.models.add(model(f"m{n}", minutes=n))
        await promote(database, f"m{n}", expected)


async def test_versions_count_up_per_type(database: Database) -> None:
    assert await database.models.next_version("hybrid") == 1
    first = await database.models.add(model("m1"))
    second = await database.models.add(model("m2"))
    other = await database.models.add(model("m3", "ials"))

    assert (first.version, second.version, other.version) == (1, 2, 1)
    assert await database.models.next_version("hybrid") == 3
    assert await database.models.get("m2") == second
    assert await database.models.get("m9") is None


async def test_versions_are_listed_newest_first(database: Database) -> None:
    for n in range(3):
        await database.models.add(model(f"m{n}", minutes=n))
    await database.models.add(model("other", "ials", minutes=1))

    assert [one.model_id for one in await database.models.list("hybrid", 2)] == ["m2", "m1"]
    assert len(await database.models.list(None, 10)) == 4


async def test_the_first_promotion_makes_a_champion(database: Database) -> None:
    await database.models.add(model("m1"))
    assert await database.models.champion("hybrid") is None

    champion = await promote(database, "m1", None)

    assert champion.epoch == 1
    assert champion.model.status is ModelStatus.CHAMPION
    assert await database.models.champion("hybrid") == champion
    assert await database.models.champion("ials") is None


async def test_the_old_champion_retires_and_the_epoch_rises(database: Database) -> None:
    await three_champions(database)

    champion = await database.models.champion("hybrid")

    assert champion is not None
    assert (champion.model.model_id, champion.epoch) == ("m3", 3)
    retired = await database.models.get("m2")
    assert retired is not None
    assert retired.status is ModelStatus.RETIRED


async def test_promotion_needs_the_champion_it_expects(database: Database) -> None:
    await three_champions(database)

    for expected in ("m1", None):
        with pytest.raises(StaleTokenError):
            await promote(database, "m2", expected)

    champion = await database.models.champion("hybrid")
    assert champion is not None
    assert champion.model.model_id == "m3"


async def test_of_two_promotions_at_once_one_wins(database: Database) -> None:
    for name in ("m1", "m2", "m3"):
        await database.models.add(model(name))
    await promote(database, "m1", None)

    results = await asyncio.gather(promote(database, "m2", "m1"), promote(database, "m3", "m1"), return_exceptions=True)

    assert sorted(type(result).__name__ for result in results) == ["Champion", "StaleTokenError"]


async def test_an_older_token_cannot_promote_after_a_newer_one(database: Database) -> None:
    for name in ("m1", "m2", "m3"):
        await database.models.add(model(name))
    await database.models.promote("m1", token=8, expected=None, at=NOON)

    with pytest.raises(StaleTokenError):
        await database.models.promote("m2", token=7, expected="m1", at=NOON)
    await database.models.promote("m3", token=9, expected="m1", at=NOON)


async def test_an_operator_overtakes_a_training_that_is_running(database: Database) -> None:
    for name in ("m1", "m2"):
        await database.models.add(model(name))
    await database.trainings.create(TrainingJob("t1", "hybrid", TrainingStatus.QUEUED, NOON))
    started = await database.trainings.start("t1", NOON)
    assert started is not None
    await promote(database, "m1", None)

    with pytest.raises(StaleTokenError):
        await database.models.promote("m2", token=started.fencing_token, expected="m1", at=NOON)


async def test_promotion_finishes_its_training_and_writes_its_messages_or_does_nothing(database: Database) -> None:
    await database.models.add(model("m1"))
    await database.trainings.create(TrainingJob("t1", "hybrid", TrainingStatus.QUEUED, NOON))
    started = await database.trainings.start("t1", NOON)
    assert started is not None
    done = TrainingJob("t1", "hybrid", TrainingStatus.PROMOTED, NOON, fencing_token=started.fencing_token)
    message = OutboxMessage(UUID(int=1), "done", "hybrid", b"{}", {}, NOON)

    await database.models.promote(
        "m1", token=started.fencing_token, expected=None, at=NOON, messages=[message], job=done
    )
    with pytest.raises(StaleTokenError):  # the training is over: its second promotion must leave no trace
        await database.models.promote("m1", token=started.fencing_token, expected="m1", at=NOON, job=done)

    finished = await database.trainings.get("t1")
    champion = await database.models.champion("hybrid")
    assert finished is not None
    assert champion is not None
    assert (finished.status, champion.epoch) == (TrainingStatus.PROMOTED, 1)
    assert await database.outbox.pending() == 1


async def test_a_rejected_or_artifactless_model_is_never_promoted(database: Database) -> None:
    await database.models.add(model("m1", artifact=False))
    await database.models.add(ModelVersion("m2", "hybrid", 0, ModelStatus.REJECTED, NOON, None, "key", "sha", {}, {}))

    for name in ("m1", "m2"):
        with pytest.raises(ConflictError):
            await promote(database, name, None)
    with pytest.raises(NotFoundError):
        await promote(database, "m9", None)


async def test_rolling_back_twice_goes_back_twice(database: Database) -> None:
    await three_champions(database)
    path = []
    for _ in range(2):
        present = await database.models.champion("hybrid")
        previous = await database.models.previous("hybrid")
        assert present is not None
        assert previous is not None
        path.append((await promote(database, previous.model_id, present.model.model_id)).model.model_id)

    assert path == ["m2", "m1"]
    assert await database.models.previous("hybrid") is None


async def test_before_the_first_promotion_there_is_no_previous(database: Database) -> None:
    assert await database.models.previous("hybrid") is None


async def test_a_previous_champion_without_artifact_is_passed_over(database: Database) -> None:
    await three_champions(database)
    await database.models.add(model("m4", minutes=4))
    await promote(database, "m4", "m3")

    keys = await database.models.retire_artifacts("hybrid", 1)

    assert sorted(keys) == ["models/hybrid/m1", "models/hybrid/m2", "models/hybrid/m3"]
    assert await database.models.previous("hybrid") is None
    assert await database.models.retire_artifacts("hybrid", 1) == []


async def test_the_champion_keeps_its_artifact_however_old(database: Database) -> None:
    for n in range(4):
        await database.models.add(model(f"m{n}", minutes=n))
    await database.models.add(model("other", "ials"))
    await promote(database, "m0", None)

    assert sorted(await database.models.retire_artifacts("hybrid", 2)) == ["models/hybrid/m1"]

    kept = [one.model_id for one in await database.models.list(None, 10) if one.artifact_key is not None]
    assert sorted(kept) == ["m0", "m2", "m3", "other"]
