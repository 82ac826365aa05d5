"""Cutting events and histories."""

from __future__ import annotations

import numpy as np
import pytest

from app.domain.entities import EventColumns
from app.domain.exceptions import NotEnoughDataError
from app.domain.splits import (
    has_informative_timestamps,
    has_shared_clock,
    time_split,
    truncated,
    validation_cut,
    window_cut,
)
from tests.unit.models.data import dataset, history, random_set


def events(times: list[float], users: list[int] | None = None) -> EventColumns:
    n = len(times)
    nothing = np.full(n, np.nan, dtype=np.float32)
    return EventColumns(
        ("u0", "u1"),
        tuple(f"i{position}" for position in range(n)),
        np.array(users or [0] * n, dtype=np.int32),
        np.arange(n, dtype=np.int32),
        np.zeros(n, dtype=np.int8),
        nothing,
        nothing,
        np.array(times),
    )


def test_the_newest_events_are_the_test_and_nothing_in_training_is_newer() -> None:
    train, test = time_split(events([1.0, 4.0, 9.0, 2.0, 5.0], [0, 0, 0, 1, 1]), 0.4)
    assert train.occurred_at.tolist() == [1.0, 4.0, 2.0]
    assert test.occurred_at.tolist() == [9.0, 5.0]
    assert train.item_ids == test.item_ids


def test_events_at_the_moment_of_the_cut_stay_together() -> None:
    train, test = time_split(events([1.0, 2.0, 2.0, 2.0]), 0.25)
    assert train.occurred_at.tolist() == [1.0]
    assert test.occurred_at.tolist() == [2.0, 2.0, 2.0]


def test_without_times_the_last_events_of_each_user_are_the_test() -> None:
    train, test = time_split(events([0.0] * 6, [0, 0, 0, 1, 1, 1]), 0.34)
    assert train.item.tolist() == [0, 1, 3, 4]
    assert test.item.tolist() == [2, 5]


@pytest.mark.parametrize("times", [[], [1.0]])
def test_too_few_events_are_refused(times: list[float]) -> None:
    with pytest.raises(NotEnoughDataError):
        time_split(events(times), 0.1)


def test_a_cut_holds_out_the_newest_likes_and_keeps_the_rest() -> None:
    cut = validation_cut(dataset([[(5, 1.0), (4, -1.0), (3, 1.0)], [(1, 1.0)]], 6))
    assert cut.by_time
    assert cut.targets.items.tolist() == [5]
    assert cut.train.histories.items.tolist() == [4, 3, 1]
    assert cut.train.histories.indptr.tolist() == [0, 2, 3]


def test_without_times_random_likes_are_held_out_and_the_seed_decides_which() -> None:
    data = random_set()
    data.histories.times[:] = 0.0
    first, again, other = (validation_cut(data, seed=seed).targets.items.tolist() for seed in (1, 1, 2))
    assert first == again != other
    assert not validation_cut(data).by_time


def test_a_cut_takes_a_share_of_long_histories_up_to_its_limit() -> None:
    long = dataset([[(item, 1.0) for item in range(100)], [(item, 1.0) for item in range(20)]], 100)
    assert validation_cut(long).targets.lengths.tolist() == [5, 2]


def test_a_cut_at_one_moment_leaves_no_event_after_it_and_asks_for_the_first_likes() -> None:
    data = dataset([[(5, 1.0), (4, -1.0), (3, 1.0), (2, 1.0)], [(1, 1.0), (0, 1.0)], [(4, 1.0)]], 6)
    data.histories.times[:] = [9.0, 8.0, 7.0, 1.0, 3.0, 2.0, 7.5]
    cut = window_cut(data, 0.5, limit=1)
    assert cut.train.histories.times.max() < 7.0
    assert cut.train.histories.items.tolist() == [2, 1, 0]
    assert cut.targets.items.tolist() == [3, 4]
    assert cut.targets.indptr.tolist() == [0, 1, 1, 2]


def test_times_tell_nothing_where_they_are_all_alike() -> None:
    data = random_set()
    assert has_informative_timestamps(data.histories)
    data.histories.times[:] = 5.0
    assert not has_informative_timestamps(data.histories)
    assert not has_informative_timestamps(history([1]))


def test_numbers_of_events_are_no_common_clock() -> None:
    rows = [[(0, 1.0), (1, 1.0), (2, 1.0)], [(3, 1.0), (4, 1.0), (5, 1.0)]]
    numbered = dataset(rows, 6).histories
    assert not has_shared_clock(numbered)
    numbered.times[3:] += 1e7
    assert has_shared_clock(numbered)


def test_truncated_histories_keep_their_newest_entries() -> None:
    shorter = truncated(dataset([[(0, 1.0), (1, 1.0), (2, 1.0)], [(3, 1.0)]], 4).histories, 2)
    assert shorter.items.tolist() == [0, 1, 3]
    assert shorter.indptr.tolist() == [0, 2, 3]
