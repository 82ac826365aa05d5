"""Whether people come back to what they have: found in the data, kept by the model, followed by lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from app.application.evaluation.event_table import plain_columns
from app.application.evaluation.repeats import Repeats, repeats_of
from app.application.ranking.list_ranking import RankingTask, rank_list
from app.application.ranking.serving_state import ServingState
from app.application.serving.serving_builder import may_return
from app.domain.catalog_view import CatalogView
from app.domain.dataset import Dataset, Histories, IdMap
from app.domain.entities import EventColumns, Kind, ModelStatus, ModelVersion
from app.domain.list_query import Filters, ModelRef, SeenPolicy
from app.domain.reranking import RankingPolicy
from app.models import RECOMMENDERS
from benchmarks.shape_data import SHAPES

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


def events(rows: Sequence[tuple[int, int]], kind: Kind = Kind.PURCHASE) -> EventColumns:
    """(user, item) in the order in which they happened."""
    user, item = np.array(rows).T
    order = np.argsort(user, kind="stable")
    times = np.arange(len(rows), dtype=np.float64)
    names = tuple(map(str, range(200)))
    return plain_columns(names, names, user[order], item[order], times[order], kind)


def test_the_rate_is_the_share_of_later_pairs_that_were_there_before() -> None:
    first = [(user, user % 7) for user in range(80)]
    # of 80 people who come back, 60 take the same again; 20 newcomers are not asked
    later = [(user, user % 7 if user < 60 else 100) for user in range(80)] + [(user, 3) for user in range(100, 120)]
    found = repeats_of(events(first + later), 100 / 180)
    assert found == Repeats(0.75, 80)
    assert found.may_return
    assert not Repeats(0.75, 49).may_return  # too few to tell
    assert not Repeats(0.29, 5_000).may_return
    disliked = repeats_of(events(first + later, Kind.DISLIKE), 100 / 180)
    assert disliked == Repeats(0.0, 0)


@pytest.mark.parametrize(("shape", "expected"), [("repeats", True), ("posts", False)])
def test_generated_purchases_come_again_and_posts_do_not(shape: str, expected: bool) -> None:
    assert repeats_of(SHAPES[shape](0, 0.2).train, 0.1).may_return is expected


def version(metrics: dict[str, object]) -> ModelVersion:
    return ModelVersion("m", "hybrid", 1, ModelStatus.CHAMPION, NOW, None, None, None, metrics)


def test_the_models_row_says_it_and_older_rows_say_no() -> None:
    assert may_return(version({"repeats": {"rate": 0.7, "pairs": 100, "may_return": True}}))
    assert not may_return(version({"repeats": {"rate": 0.1, "pairs": 100, "may_return": False}}))
    assert not may_return(version({}))


@pytest.mark.parametrize(
    ("wanted", "found", "asked", "comes_again"),
    [
        ("auto", True, None, True),
        ("auto", False, None, False),
        ("never", False, None, True),
        ("always", True, None, False),
        ("auto", True, True, False),  # the request has the last word
        ("always", False, False, True),
    ],
)
def test_lists_follow_the_request_then_the_setting_then_the_model(
    wanted: SeenPolicy, found: bool, asked: bool | None, comes_again: bool
) -> None:
    ids = IdMap(["disliked", "liked", "other"])
    recommender = RECOMMENDERS.build("popularity", {})
    indptr, items = np.array([0, 2, 4]), np.array([1, 2, 1, 0], dtype=np.int32)
    histories = Histories(indptr, items, np.ones(4, np.float32), np.full(4, 1.0), NOW.timestamp())
    recommender.fit(Dataset(IdMap(["a", "b"]), ids, histories), seed=0, progress=lambda *_: None)
    policy = RankingPolicy(exclude_seen=wanted)
    serving = ServingState(
        CatalogView.of_model(ids), ModelRef("m", "hybrid", 1), recommender, ranking_policy=policy, may_return=found
    )
    history = (("liked", 1.0, 2.0), ("disliked", -1.0, 1.0))
    made = rank_list(serving, RankingTask("hybrid", Filters(asked), history, 10), NOW)
    shown = {ids.ids[position] for position in made.positions}
    assert shown == ({"liked", "other"} if comes_again else {"other"})
