"""A model judged by logged lists: by what it would have put in the place that was drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.application.ranking.list_ranking import RankingTask, rank_list, ranking_time
from app.application.reporting.replay_evaluation import ReplayEvaluator
from app.domain.entities import Interaction, Kind
from app.domain.exceptions import NotEnoughDataError
from app.domain.list_query import Filters
from app.domain.request_log import RequestEntry, ShownItem, user_pseudonym
from app.domain.signals import SignalPolicy, history_before, history_of
from app.domain.stores import IngestBatch
from tests.unit.serving.world import NOW, World

SECRET = b"secret for tests"
N_LISTS = 1_200


def evaluator(world: World) -> ReplayEvaluator:
    database = world.database
    return ReplayEvaluator(database.request_log, database.interactions, SECRET, timedelta(hours=24), SignalPolicy())


async def log_lists(world: World, propensity: float) -> None:
    """One list of two items to each new user: in every second the candidate's first item, in the others its last one.

    Of the first a third is watched, of the second nothing.
    """
    at = NOW + timedelta(minutes=5)
    ranked = rank_list(world.server.current, RankingTask("hybrid", Filters(), (), 30), at)
    ids = [world.server.current.view.ids.ids[position] for position in ranked.positions.tolist()]
    entries, watches = [], []
    for number in range(N_LISTS):
        item, user_id = (ids[0], ids[-1])[number % 2], f"new-{number}"
        shown = (ShownItem(ids[1], 1, 1.0, "hybrid", 1.0), ShownItem(item, 2, 0.5, "hybrid", propensity))
        user = user_pseudonym(SECRET, user_id)
        entries.append(
            RequestEntry(str(uuid4()), at, user, "recs", "m", 1, None, None, False, None, False, 0.01, shown)
        )
        if number % 6 == 0:
            watches.append(Interaction(uuid4(), user_id, item, Kind.WATCH, at + timedelta(hours=1), 60.0, 60.0))
    await world.database.request_log.add(entries)
    await world.database.interactions.ingest(IngestBatch(watches))


async def test_a_candidate_gets_the_value_of_what_it_would_have_shown(world: World) -> None:
    await log_lists(world, 0.5)

    found = await evaluator(world).evaluate(world.server.current, NOW, NOW + timedelta(days=1))

    assert (found.lists, found.judged, found.value.matched) == (N_LISTS, N_LISTS, N_LISTS // 2)
    assert found.value.support == pytest.approx(1.0)
    assert found.value.replay.value == found.value.estimates.snips.value == pytest.approx(1 / 3)
    assert found.value.estimates.doubly_robust.low < 1 / 3 < found.value.estimates.doubly_robust.high
    assert found.value.logging_policy.value == pytest.approx(1 / 6)


async def test_a_log_in_which_nothing_was_drawn_is_refused(world: World) -> None:
    await log_lists(world, 1.0)

    with pytest.raises(NotEnoughDataError, match="no logged list has a propensity below 1"):
        await evaluator(world).evaluate(world.server.current, NOW, NOW + timedelta(days=1))


async def test_a_history_before_a_moment_is_that_which_a_list_had_then(world: World) -> None:
    interactions, user_id, policy = world.database.interactions, "crime-fan-1", SignalPolicy()
    columns, at = await interactions.columns(None, None), ranking_time(NOW)
    row = columns.user_ids.index(user_id)

    known = history_of(await interactions.history(user_id, 1_000), policy, at)
    whole = history_before(columns, row, NOW, policy, at)
    newest = datetime.fromtimestamp(known[0][2], UTC)

    assert len(known) > 1
    assert [(item_id, time) for item_id, _weight, time in whole] == [
        (item_id, time) for item_id, _weight, time in known
    ]
    assert [weight for _item, weight, _time in whole] == pytest.approx([weight for _item, weight, _time in known])
    assert history_before(columns, row, newest, policy, at) == whole[1:]
