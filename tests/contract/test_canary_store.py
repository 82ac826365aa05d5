"""The suite of CanaryStore, run over every adapter through the production opener."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.application.outgoing.outgoing_events import ModelCanaryMoved, to_message
from app.domain.canary import Canary, CanaryStatus, advanced, ended
from app.domain.entities import ModelStatus, ModelVersion
from app.domain.exceptions import ConflictError
from app.domain.stores import Database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CANARY = Canary("m2", "hybrid", "m1", (0.05, 0.25, 1.0), 24.0, NOON, NOON)


async def with_models(database: Database, *model_ids: str, model_type: str = "hybrid") -> None:
    """Versions of a type, the first of them champion."""
    for model_id in model_ids:
        await database.models.add(
            ModelVersion(model_id, model_type, 0, ModelStatus.CANDIDATE, NOON, None, f"models/{model_id}", "00")
        )
    await database.models.promote(model_ids[0], token=None, expected=None, at=NOON)


async def test_a_canary_comes_back_as_it_was_stored(database: Database) -> None:
    await with_models(database, "m1", "m2")
    figures = {"users": {"champion": 95, "candidate": 5}}
    started = await database.canaries.start(CANARY)
    await database.canaries.replace(advanced(started, NOON + timedelta(hours=24), figures))

    found = await database.canaries.get("m2")

    assert started.revision == 1
    assert found == replace(CANARY, step=1, step_started_at=NOON + timedelta(hours=24), figures=figures, revision=2)
    assert await database.canaries.running() == [found]
    assert await database.canaries.get("m1") is None


async def test_one_runs_at_a_time_of_each_type(database: Database) -> None:
    await with_models(database, "m1", "m2", "m3")
    await with_models(database, "p1", "p2", model_type="popular")
    await database.canaries.start(CANARY)

    with pytest.raises(ConflictError):
        await database.canaries.start(replace(CANARY, model_id="m3"))
    await database.canaries.start(replace(CANARY, model_id="p2", model_type="popular", champion_id="p1"))

    assert [one.model_id for one in await database.canaries.running()] == ["m2", "p2"]


async def test_it_does_not_start_beside_another_champion_than_it_names(database: Database) -> None:
    await with_models(database, "m1", "m2", "m3")

    with pytest.raises(ConflictError):
        await database.canaries.start(replace(CANARY, champion_id="m3"))

    assert await database.canaries.running() == []


async def test_of_two_who_move_it_one_wins_and_only_its_event_is_sent(database: Database) -> None:
    await with_models(database, "m1", "m2")
    seen = await database.canaries.start(CANARY)
    moves = (advanced(seen, NOON, {}), ended(seen, CanaryStatus.STOPPED, "by hand", {}))
    messages = [
        to_message(
            ModelCanaryMoved(
                model_id="m2",
                model_type="hybrid",
                champion_id="m1",
                status=one.status.value,
                share=one.share,
                timestamp=NOON,
            ),
            NOON,
        )
        for one in moves
    ]

    outcomes = await asyncio.gather(
        *(database.canaries.replace(one, [message]) for one, message in zip(moves, messages, strict=True)),
        return_exceptions=True,
    )

    assert [type(one) for one in outcomes if one is not None] == [ConflictError]
    winner = outcomes.index(None)
    assert await database.canaries.get("m2") == moves[winner]
    claimed = await database.outbox.claim(10, NOON, 30.0)
    assert [one.message_id for one in claimed] == [messages[winner].message_id]


async def test_an_ended_one_moves_no_more_and_may_be_started_anew(database: Database) -> None:
    await with_models(database, "m1", "m2")
    over = ended(await database.canaries.start(CANARY), CanaryStatus.ROLLED_BACK, "worse", {})
    await database.canaries.replace(over)

    with pytest.raises(ConflictError):
        await database.canaries.replace(advanced(over, NOON, {}))
    again = await database.canaries.start(CANARY)

    assert (again.revision, again.status) == (3, CanaryStatus.RUNNING)


async def test_the_artifact_of_a_candidate_is_kept_while_its_canary_runs(database: Database) -> None:
    await with_models(database, "m1", "m2", "m3", "m4")
    running = await database.canaries.start(CANARY)

    assert await database.models.retire_artifacts("hybrid", keep=1) == ["models/m3"]
    await database.canaries.replace(ended(running, CanaryStatus.STOPPED, "by hand", {}))
    assert await database.models.retire_artifacts("hybrid", keep=1) == ["models/m2"]
