"""Judging a recommender on a hold-out worked out by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from app.application.evaluation.evaluation import evaluate
from app.application.evaluation.hold_out import hold_out, take_rows
from app.application.evaluation.pipeline import ranks_among
from app.application.evaluation.top_lists import hits_of, top_lists
from app.domain.dataset import Dataset, Histories
from app.domain.entities import KINDS, EventColumns, Kind, User
from app.domain.exceptions import NotEnoughDataError
from app.domain.recommender import Scorer
from app.domain.signals import SignalPolicy, dataset_from
from tests.unit.models.data import history, silent

NOW = datetime(2026, 1, 31, tzinfo=UTC)
Row = tuple[str, str, Kind, float | None]


def events(rows: list[Row]) -> EventColumns:
    users = tuple(dict.fromkeys(row[0] for row in rows))
    items = tuple(dict.fromkeys(row[1] for row in rows))
    rows = sorted(rows, key=lambda row: users.index(row[0]))
    return EventColumns(
        users,
        items,
        np.array([users.index(row[0]) for row in rows], dtype=np.int32),
        np.array([items.index(row[1]) for row in rows], dtype=np.int32),
        np.array([KINDS.index(row[2]) for row in rows], dtype=np.int8),
        np.array([np.nan if row[3] is None else row[3] for row in rows], dtype=np.float32),
        np.full(len(rows), np.nan, dtype=np.float32),
        np.arange(len(rows), dtype=np.float64) + 1e9,
    )


def likes(*pairs: tuple[str, str]) -> EventColumns:
    return events([(user, item, Kind.LIKE, None) for user, item in pairs])


def training(*pairs: tuple[str, str], users: tuple[User, ...] = ()) -> Dataset:
    return dataset_from(likes(*pairs), SignalPolicy(), NOW, [], users)


TRAIN = training(("u1", "a"), ("u1", "b"), ("u2", "b"), ("u2", "c"), ("u3", "d"))


class Fixed(Scorer):
    """The same scores for everyone."""

    name = "fixed"

    def __init__(self, scores: list[float]) -> None:
        self._scores = np.array(scores, dtype=np.float32)

    @property
    def n_items(self) -> int:
        return len(self._scores)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
        return np.tile(self._scores if items is None else self._scores[items], (len(histories), 1))


def test_seen_items_are_not_asked_for_and_unknown_ones_are_misses_for_everyone() -> None:
    asked = hold_out(TRAIN, likes(("u1", "a"), ("u1", "c"), ("u1", "zz"), ("u2", "b"), ("u9", "a")))
    assert asked.users == ("u1", "u9")
    assert asked.relevant.toarray().tolist() == [[False, False, True, False], [True, False, False, False]]
    assert asked.unrankable.tolist() == [1, 0]
    assert asked.n_relevant.tolist() == [2, 1]
    assert asked.histories.lengths.tolist() == [2, 0]


def test_what_was_left_out_as_seen_is_counted() -> None:
    asked = hold_out(TRAIN, likes(("u1", "a"), ("u1", "c"), ("u2", "b"), ("u2", "c"), ("u9", "a")))
    assert asked.users == ("u1", "u9")
    assert (asked.seen_pairs, asked.seen_users) == (3, 1)


def test_seen_items_may_count_as_misses_as_in_tables_that_mask_them() -> None:
    asked = hold_out(TRAIN, likes(("u1", "a"), ("u1", "c"), ("u2", "b")), seen="count-as-miss")
    assert asked.users == ("u1", "u2")
    assert asked.n_relevant.tolist() == [2, 1]
    assert asked.relevant.toarray().tolist() == [[False, False, True, False], [False] * 4]
    found = evaluate(Fixed([0.0, 0.0, 1.0, 0.0]), TRAIN, asked, seed=0, progress=silent, names=("recall@1",))
    assert found.per_user["recall@1"].tolist() == [0.5, 0.0]


def test_seen_items_may_come_again_and_count() -> None:
    asked = hold_out(TRAIN, likes(("u1", "a"), ("u2", "d")), seen="may-return")
    assert asked.relevant.toarray().tolist() == [[True, False, False, False], [False, False, False, True]]
    found = evaluate(Fixed([1.0, 0.5, 0.2, 0.1]), TRAIN, asked, seed=0, progress=silent, names=("recall@1",))
    assert found.per_user["recall@1"].tolist() == [1.0, 0.0]


def test_disliked_items_are_not_what_the_user_wanted() -> None:
    rows: list[Row] = [
        ("u3", "a", Kind.DISLIKE, None),
        ("u3", "b", Kind.RATING, 1.0),
        ("u3", "c", Kind.RATING, 4.0),
        ("u1", "d", Kind.WATCHLIST, 0.0),
    ]
    asked = hold_out(TRAIN, events(rows))
    assert asked.users == ("u3",)
    assert asked.relevant.indices.tolist() == [TRAIN.items.position("c")]


def test_a_test_with_nothing_new_is_refused() -> None:
    with pytest.raises(NotEnoughDataError):
        hold_out(TRAIN, likes(("u1", "a")))


def test_new_users_bring_their_profiles() -> None:
    profiles = tuple(User(name, NOW, {"gender": "f" if name < "u3" else "m"}) for name in ("u1", "u2", "u3", "u4"))
    train = training(("u1", "a"), ("u2", "b"), ("u3", "c"), users=(*profiles, User("u5", NOW, {"gender": "m"})))
    assert train.user_features is not None
    asked = hold_out(train, likes(("u1", "c"), ("u4", "a"), ("u9", "a")), profiles)
    assert asked.histories.profiles is not None
    assert asked.histories.profiles.toarray().tolist() == [[1.0], [0.0], [0.0]]


def test_lists_hide_what_was_seen_break_ties_by_position_and_end_with_minus_one() -> None:
    lists, finite = top_lists(Fixed([3.0, 1.0, 1.0, 2.0]), TRAIN.histories, 10)
    assert finite
    assert lists.tolist() == [[3, 2, -1, -1], [0, 3, -1, -1], [0, 1, 2, -1]]


def test_a_restricted_catalog_is_all_that_is_listed() -> None:
    allowed = np.array([False, True, True, False])
    lists, _ = top_lists(Fixed([3.0, 1.0, 1.0, 2.0]), TRAIN.histories, 2, allowed=allowed)
    assert lists.tolist() == [[2, -1], [-1, -1], [1, 2]]


def test_hits_are_found_at_their_rank() -> None:
    relevant = sp.csr_matrix(np.array([[0, 1, 0], [1, 0, 1]], dtype=bool))
    lists = np.array([[0, 1], [2, -1]], dtype=np.int32)
    assert hits_of(lists, relevant).tolist() == [[False, True], [True, False]]


def test_an_evaluation_by_hand() -> None:
    asked = hold_out(TRAIN, likes(("u1", "c"), ("u1", "d"), ("u3", "a"), ("u8", "d")))
    judged = evaluate(
        Fixed([4.0, 3.0, 2.0, 1.0]), TRAIN, asked, seed=0, progress=silent, names=("recall@1", "hr@2", "ndcg@2")
    )
    assert judged.users == ("u1", "u3", "u8")
    assert judged.per_user["recall@1"].tolist() == [0.5, 1.0, 0.0]
    assert judged.per_user["hr@2"].tolist() == [1.0, 1.0, 0.0]
    assert judged.per_user["ndcg@2"].tolist() == [1.0, 1.0, 0.0]
    assert judged.by_slice["new users"].figures["hr@2"] == (0.0, 0.0, 0.0)
    assert judged.by_slice["light users"].users == 2
    assert judged.by_slice["light users"].figures["recall@1"] == (0.75, 0.5, 1.0)
    assert judged.slices["light users"].tolist() == [True, True, False]
    assert judged.coverage == 1.0
    assert judged.problems == ()
    assert json.loads(json.dumps(judged.summary()))["metrics"]["hr@2"]["mean"] == pytest.approx(2 / 3)


def test_the_same_seed_gives_the_same_intervals() -> None:
    asked = hold_out(TRAIN, likes(("u1", "c"), ("u3", "a"), ("u8", "d")))
    first, second = (evaluate(Fixed([4.0, 3.0, 2.0, 1.0]), TRAIN, asked, seed=3, progress=silent) for _ in range(2))
    assert first.intervals == second.intervals


def test_scores_that_are_not_numbers_are_told_as_a_problem() -> None:
    asked = hold_out(TRAIN, likes(("u1", "c")))
    judged = evaluate(Fixed([4.0, float("nan"), 2.0, 1.0]), TRAIN, asked, seed=0, progress=silent)
    assert "finite" in judged.problems[0]


def test_one_item_first_for_everybody_is_told_as_a_problem() -> None:
    pairs = [(f"u{number}", "a" if number % 2 else "b") for number in range(40)]
    train = training(*pairs, ("x", "c"), ("x", "d"))
    asked = hold_out(train, likes(*((user, "c") for user, _ in pairs)))
    judged = evaluate(Fixed([1.0, 1.0, 9.0, 0.0]), train, asked, seed=0, progress=silent)
    assert "same item" in judged.problems[0]


def test_a_test_item_is_ranked_among_its_own_candidates_and_ties_go_by_position() -> None:
    candidates = np.array([[2, 0, 1, 3], [1, 2, 3, 0], [-1, 3, -1, 0]])
    ranks = ranks_among(Fixed([4.0, 1.0, 1.0, 0.0]), take_rows(TRAIN.histories, np.array([0, 1, 2])), candidates)
    assert ranks.tolist() == [2, 1, 3]


def test_rows_are_taken_in_the_order_asked_for() -> None:
    taken = take_rows(TRAIN.histories, np.array([2, 0]))
    assert taken.lengths.tolist() == [1, 2]
    assert taken.items.tolist() == [3, 1, 0]
    assert len(take_rows(history([1, 2]), np.array([], dtype=np.int64))) == 0
