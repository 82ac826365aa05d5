"""Lists made before anybody asks: the newest active users first, within bounds, and found by who asks."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest
from typer.testing import CliRunner

from app.application.recommending.precompute import PrecomputePolicy, active_users, precompute
from app.application.reporting.reporter import PRECOMPUTE
from app.application.serving_stack import ServingStack
from app.bootstrap import Container, make_recorder, make_serving, open_container
from app.domain.exceptions import InputError
from app.domain.list_query import ListQuery
from app.infrastructure.celery_jobs import QUEUES, queue_of
from app.precomputing import after_promotion, precompute_lists
from tests.integration.api.running_service import settings_of


@asynccontextmanager
async def serving_over(built: Path) -> AsyncIterator[tuple[Container, ServingStack]]:
    async with open_container(settings_of(built)) as container:
        serving = make_serving(container, make_recorder(container))
        await serving.start()
        try:
            yield container, serving
        finally:
            await serving.close()


async def test_lists_are_made_once_for_as_many_users_as_allowed_and_held_afterwards(built: Path) -> None:
    async with serving_over(built) as (container, serving):
        interactions, policy = container.database.interactions, PrecomputePolicy(users=3, seconds=60)
        first = await precompute(interactions, serving.lists, policy, monotonic)
        again = await precompute(interactions, serving.lists, policy, monotonic)
        assert (first.made, first.held, first.failed, first.ended_by) == (3, 0, 0, "users")
        assert (again.made, again.held) == (0, 3)
        users = [user async for user in active_users(interactions, 1_000)]
        assert (await serving.lists.recommend(ListQuery(users[0]))).from_cache
        assert not (await serving.lists.recommend(ListQuery(users[3]))).from_cache


async def test_time_is_a_bound_too(built: Path) -> None:
    ticks = itertools.count(0.0, 10.0)
    async with serving_over(built) as (container, serving):
        policy = PrecomputePolicy(users=1_000, seconds=25.0)
        found = await precompute(container.database.interactions, serving.lists, policy, lambda: next(ticks))
    assert (found.made, found.ended_by) == (2, "seconds")


async def test_everybody_is_found_once(built: Path) -> None:
    async with open_container(settings_of(built)) as container:
        users = [user async for user in active_users(container.database.interactions, 1_000_000)]
        columns = await container.database.interactions.columns(None, None)
    assert sorted(users) == sorted({columns.user_ids[code] for code in columns.user})


async def test_without_a_shared_cache_it_is_refused_by_hand_and_left_out_after_a_promotion(built: Path) -> None:
    async with open_container(settings_of(built)) as container:
        with pytest.raises(InputError, match="share"):
            await precompute_lists(container)
        await after_promotion(container)
        assert await container.database.reports.latest(PRECOMPUTE) is None


def test_each_kind_of_job_has_a_queue_of_its_own() -> None:
    slot = datetime(2026, 11, 29, tzinfo=UTC).isoformat()
    assert queue_of(f"precompute@{slot}") == QUEUES["precompute"]
    assert queue_of(f"kpis@{slot}") == queue_of(f"evaluation@{slot}") == QUEUES["evaluate"]
    assert queue_of("0f9c1c9e-1111-4222-8333-444455556666") == QUEUES["train"]
    assert len(set(QUEUES.values())) == len(QUEUES) == 4


def test_the_command_says_what_is_missing(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.commands.precompute import precompute as command

    settings = settings_of(built)
    monkeypatch.setenv("ENCORE_ENVIRONMENT", "test")
    monkeypatch.setenv("ENCORE_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("ENCORE_ARTIFACTS_URL", settings.artifacts_url)
    import typer

    app = typer.Typer()
    app.command()(command)
    answer = CliRunner().invoke(app, ["--users", "2"])
    assert answer.exit_code != 0
    assert "redis://" in answer.output
