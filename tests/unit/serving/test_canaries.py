"""A candidate on its way: who gets its lists, and what they decide, over a simulated request log and a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

import numpy as np
import pytest

from app import telemetry
from app.application.experimentation.model_evidence import EvidenceReader
from app.application.serving.canaries import Canaries
from app.application.serving.counting_ranker import CountingRanker
from app.application.serving.guardrail import Guardrail
from app.application.training.model_registry import ModelRegistry
from app.domain.audit import Outcome
from app.domain.canary import Canary, CanaryStatus, takes
from app.domain.entities import Interaction, Kind
from app.domain.exceptions import ConflictError, InputError
from app.domain.guardrail_policy import GuardrailPolicy, ListCounts
from app.domain.list_query import ListQuery, Page
from app.domain.request_log import RequestEntry, ShownItem, user_pseudonym
from app.domain.stores import IngestBatch
from app.models import RECOMMENDERS
from tests.unit.serving.world import NOW, World, following

SECRET = b"secret for tests"
USERS = tuple(f"visitor-{number}" for number in range(1_200))
HOUR = timedelta(hours=1)


@dataclass
class Trial:
    """The world with a champion, a candidate and what judges it."""

    world: World
    registry: ModelRegistry
    canaries: Canaries
    champion: str
    candidate: str
    looked: dict[str, datetime] = field(default_factory=dict)

    async def champion_now(self) -> str:
        found = await self.world.database.models.champion("hybrid")
        assert found is not None
        return found.model.model_id

    async def show_lists(self, canary: Canary, hit_rates: tuple[float, float], seed: int) -> None:
        """A list a user, after the step has settled; a share of champion's and candidate's users watch an item."""
        random, at = np.random.default_rng(seed), self.world.clock.now + timedelta(minutes=5)
        entries, watches = [], []
        for user_id in USERS:
            is_in = takes(canary, user_id)
            model_id = self.candidate if is_in else self.champion
            entries.append(entry(user_id, model_id, at))
            if random.random() < hit_rates[is_in]:
                later = at + timedelta(minutes=1)
                watches.append(Interaction(uuid4(), user_id, "crime-00", Kind.WATCH, later, 60.0, 60.0))
        await self.world.database.request_log.add(entries)
        await self.world.database.interactions.ingest(IngestBatch(watches))

    async def tick(self, later: timedelta) -> Canary:
        """So much later, as the scheduler of any process would."""
        self.world.clock.now += later
        await self.canaries.tick(self.looked)
        return await self.canaries.show(self.candidate)


def entry(user_id: str, model_id: str, at: datetime) -> RequestEntry:
    shown = (ShownItem("crime-00", 1, 1.0, "content", 1.0),)
    user = user_pseudonym(SECRET, user_id)
    return RequestEntry(str(uuid4()), at, user, "recs", model_id, 1, None, None, False, None, False, 0.01, shown)


@pytest.fixture
async def trial(world: World) -> Trial:
    first = world.server.current.model
    assert first is not None
    second = await world.train()
    await world.promote(first.model_id)
    registry = ModelRegistry(world.database, world.artifacts, RECOMMENDERS, world.clock)
    log, interactions = world.database.request_log, world.database.interactions
    evidence = EvidenceReader(log, interactions, SECRET, timedelta(hours=24))
    canaries = Canaries(world.database, registry, evidence, world.clock, "schedule")
    return Trial(world, registry, canaries, first.model_id, second.model_id)


async def acts(world: World) -> Sequence[tuple[str, str, Outcome]]:
    rows = await world.database.audit.newest(100)
    return [(row.entry.act, row.entry.actor, row.entry.outcome) for row in reversed(rows)]


async def test_an_equal_candidate_goes_through_its_steps_and_is_promoted(trial: Trial) -> None:
    canary = await trial.canaries.start(trial.candidate, (0.25, 0.5), 1.0, "key:ci")
    await trial.show_lists(canary, (0.3, 0.3), seed=1)
    assert (await trial.tick(HOUR / 2)).share == 0.25

    second = await trial.tick(HOUR / 2)
    assert (second.status, second.share, second.revision) == (CanaryStatus.RUNNING, 0.5, 2)
    assert await trial.champion_now() == trial.champion
    await trial.show_lists(second, (0.3, 0.3), seed=2)
    done = await trial.tick(HOUR)

    assert (done.status, done.share) == (CanaryStatus.PROMOTED, 0.0)
    assert await trial.champion_now() == trial.candidate
    assert set(done.figures) == {"users", "hit_rate", "empty_share", "fallback_share"}
    assert await acts(trial.world) == [
        (act, actor, outcome)
        for act, actor in (
            ("canary.start", "key:ci"),
            ("canary.advanced", "schedule"),
            ("canary.promoted", "schedule"),
        )
        for outcome in (Outcome.BEGUN, Outcome.DONE)
    ]
    sent = await trial.world.database.outbox.claim(10, trial.world.clock.now, 30.0)
    assert [message.topic.rpartition(".")[2] for message in sent] == ["model-canary-moved"] * 3


async def test_a_bad_candidate_is_taken_back_before_its_step_is_over(trial: Trial) -> None:
    rolled_back = telemetry.CANARY_STEPS.labels("hybrid", "rolled_back")
    before = rolled_back._value.get()
    canary = await trial.canaries.start(trial.candidate, (0.25, 0.5), 24.0)
    await trial.show_lists(canary, (0.4, 0.05), seed=3)

    done = await trial.tick(HOUR)

    assert (done.status, done.share) == (CanaryStatus.ROLLED_BACK, 0.0)
    assert "hit_rate" in str(done.reason)
    assert await trial.champion_now() == trial.champion
    assert rolled_back._value.get() == before + 1
    assert await trial.world.database.canaries.running() == []


async def test_without_enough_users_nothing_is_promoted_and_in_the_end_it_is_taken_back(trial: Trial) -> None:
    await trial.canaries.start(trial.candidate, (0.25,), 1.0)

    assert (await trial.tick(3 * HOUR)).status is CanaryStatus.RUNNING
    done = await trial.tick(4 * HOUR)

    assert (done.status, await trial.champion_now()) == (CanaryStatus.ROLLED_BACK, trial.champion)
    assert "too few" in str(done.reason)


async def test_users_who_are_missing_on_one_side_keep_it_from_going_on(trial: Trial) -> None:
    canary = await trial.canaries.start(trial.candidate, (0.5,), 1.0)
    at = NOW + timedelta(minutes=5)
    lists = [entry(user_id, trial.champion, at) for user_id in USERS if not takes(canary, user_id)]
    lists += [entry(user_id, trial.candidate, at) for user_id in USERS[:300] if takes(canary, user_id)]
    await trial.world.database.request_log.add(lists)

    assert (await trial.tick(2 * HOUR)).status is CanaryStatus.RUNNING
    assert "split" in str((await trial.tick(5 * HOUR)).reason)


async def test_a_process_that_died_after_promoting_leaves_a_state_that_the_next_tick_ends(trial: Trial) -> None:
    """And nobody is in between: the row still says 25 %, but the champion it stands beside serves no more."""
    await trial.canaries.start(trial.candidate, (0.25,), 1.0)
    await trial.registry.promote(trial.candidate, instead_of=trial.champion)
    async with following(trial.world):
        await trial.world.server.refresh_model()
        assert {(await served(trial.world, user)) for user in USERS[:40]} == {trial.candidate}

    assert (await trial.tick(timedelta(minutes=2))).status is CanaryStatus.PROMOTED
    assert await trial.champion_now() == trial.candidate


async def test_another_promotion_ends_it(trial: Trial) -> None:
    await trial.canaries.start(trial.candidate, (0.25,), 1.0)
    other = await trial.world.train()

    done = await trial.tick(timedelta(minutes=2))

    assert (done.status, await trial.champion_now()) == (CanaryStatus.STOPPED, other.model_id)


async def test_of_two_processes_that_judge_at_once_one_moves_it(trial: Trial) -> None:
    canary = await trial.canaries.start(trial.candidate, (0.25, 0.5), 1.0)
    await trial.show_lists(canary, (0.3, 0.3), seed=4)
    trial.world.clock.now += HOUR
    await trial.canaries.judge(canary, trial.world.clock.now)

    with pytest.raises(ConflictError):
        await trial.canaries.judge(canary, trial.world.clock.now)

    assert (await trial.canaries.show(trial.candidate)).share == 0.5


async def served(world: World, user_id: str) -> str:
    page: Page = await world.lists.recommend(ListQuery(user_id))
    assert page.model is not None
    return page.model.model_id


async def until_loaded(trial: Trial) -> None:
    pinned = trial.world.stack.pinned
    assert pinned is not None
    for _ in range(1_000):
        if pinned.of(trial.candidate) is not None:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the candidate was not loaded")


async def test_exactly_the_share_gets_the_candidates_lists_cached_or_not(trial: Trial) -> None:
    canary = await trial.canaries.start(trial.candidate, (0.25,), 1.0)
    await trial.world.rate("visitor-3", "crime-00")
    expected = {user: trial.candidate if takes(canary, user) else trial.champion for user in USERS[:60]}
    async with following(trial.world):
        await until_loaded(trial)
        for _ in range(2):
            assert {user: await served(trial.world, user) for user in expected} == expected
        assert 5 < list(expected.values()).count(trial.candidate) < 25
        await trial.canaries.stop(trial.candidate)
        trial.world.stack.wake()
        await eventually_all(trial, trial.champion)


async def eventually_all(trial: Trial, model_id: str) -> None:
    for _ in range(500):
        if {await served(trial.world, user) for user in USERS[:60]} == {model_id}:
            return
        await asyncio.sleep(0.01)
    pytest.fail("some users still get the other model")


async def test_a_replica_that_sees_the_candidates_lists_fail_takes_it_back_at_once(trial: Trial) -> None:
    policy = GuardrailPolicy(min_lists=20)
    counting = CountingRanker(policy.window_seconds)
    pinned = trial.world.stack.pinned
    assert pinned is not None
    guardrail = Guardrail(trial.world.server, counting, trial.registry, policy, canaries=(pinned, trial.canaries))
    await trial.canaries.start(trial.candidate, (0.25,), 24.0)
    await pinned.refresh()
    counting._count(trial.champion, ListCounts(lists=1_000))
    counting._count(trial.candidate, ListCounts(lists=50))
    assert await guardrail.check() is None

    counting._count(trial.candidate, ListCounts(errors=50))
    reason = await guardrail.check()

    done = await trial.canaries.show(trial.candidate)
    assert "50.0% of 100 lists failed" in str(reason)
    assert (done.status, done.reason) == (CanaryStatus.ROLLED_BACK, reason)
    assert (await trial.champion_now(), await guardrail.check()) == (trial.champion, None)
    await pinned.refresh()
    assert pinned.of(trial.candidate) is None


@pytest.mark.parametrize(
    ("steps", "hours", "field"),
    [
        ((), 1.0, "/steps"),
        ((0.5, 0.25), 1.0, "/steps"),
        ((1.0,), 1.0, "/steps"),
        ((0.00001,), 1.0, "/steps"),
        (tuple(number / 100 for number in range(1, 13)), 1.0, "/steps"),
        ((0.05,), 0.0, "/hours"),
        ((0.05,), 1_000.0, "/hours"),
    ],
)
async def test_bad_steps_are_refused_by_name(trial: Trial, steps: tuple[float, ...], hours: float, field: str) -> None:
    with pytest.raises(InputError) as refused:
        await trial.canaries.start(trial.candidate, steps, hours)

    assert refused.value.field == field


async def test_the_champion_itself_is_no_candidate_and_one_runs_at_a_time(trial: Trial) -> None:
    with pytest.raises(ConflictError):
        await trial.canaries.start(trial.champion, (0.05,), 1.0)
    await trial.canaries.start(trial.candidate, (0.05,), 1.0)
    with pytest.raises(ConflictError):
        await trial.canaries.start(trial.candidate, (0.05,), 1.0)
