"""How much an interaction counts, in training and in serving."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.dataset import Dataset
from app.domain.entities import KINDS, EventColumns, Item, Kind, PairState, User
from app.domain.signals import SignalPolicy, dataset_from, encode_items, feature_names, history_of

NOW = datetime(2026, 1, 31, tzinfo=UTC)
FOREVER = SignalPolicy(half_life_days=1e9)


def state(
    kind: Kind = Kind.LIKE,
    *,
    item: str = "a",
    value: float | None = None,
    peak: float = 1.0,
    count: int = 1,
    age: timedelta = timedelta(0),
) -> PairState:
    return PairState(item, kind, value, None, peak, count, NOW - age)


def weight(*states: PairState, policy: SignalPolicy = FOREVER) -> float:
    return history_of(states, policy, NOW)[0][1]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (state(Kind.LIKE), 1.0),
        (state(Kind.DISLIKE), -1.0),
        (state(Kind.WATCH, value=60.0, peak=0.25), 0.25),
        (state(Kind.RATING, value=5.0, peak=5.0), 1.0),
        (state(Kind.RATING, value=2.0, peak=5.0), 0.0),
        (state(Kind.RATING, value=0.5, peak=5.0), -0.5),
        (state(Kind.WATCHLIST, value=1.0), 0.5),
        (state(Kind.WATCHLIST, value=0.0), 0.0),
        (state(Kind.PURCHASE, value=2.0, peak=2.0), 3.0),
        (state(Kind.VIEW, value=900.0, peak=900.0), 0.9),
    ],
)
def test_each_kind_counts_as_its_policy_says(one: PairState, expected: float) -> None:
    assert weight(one) == pytest.approx(expected)


def test_repeats_count_by_their_logarithm_up_to_the_cap() -> None:
    assert weight(state(count=2)) == pytest.approx(1 + log(2))
    assert weight(state(count=1_000_000)) == pytest.approx(3.0)


def test_half_of_the_weight_is_left_after_a_half_life_and_the_future_counts_as_now() -> None:
    policy = SignalPolicy(half_life_days=10.0)
    assert weight(state(age=timedelta(days=10)), policy=policy) == pytest.approx(0.5)
    assert weight(state(age=timedelta(days=-400)), policy=policy) == pytest.approx(1.0)


def test_kinds_of_one_item_add_up_and_an_item_that_weighs_nothing_stays_seen() -> None:
    states = [state(Kind.LIKE), state(Kind.WATCH), state(Kind.RATING, item="b", value=2.0)]
    entries = history_of(states, FOREVER, NOW)
    assert [(item, round(value, 6)) for item, value, _ in entries] == [("a", 2.0), ("b", 0.0)]


def test_a_history_is_newest_first_and_ties_go_by_id() -> None:
    entries = history_of([state(item="b"), state(item="c", age=timedelta(hours=1)), state(item="a")], FOREVER, NOW)
    assert [item for item, _, _ in entries] == ["a", "b", "c"]
    assert entries[2][2] == (NOW - timedelta(hours=1)).timestamp()


def columns(rows: list[tuple[int, int, Kind, float | None, float | None, float]]) -> EventColumns:
    """(user, item, kind, value, duration, seconds before NOW), in order of arrival."""
    rows = sorted(rows, key=lambda row: (row[0], -row[5]))
    return EventColumns(
        ("u0", "u1", "u2"),
        ("i2", "i0", "i1", "i3"),
        np.array([row[0] for row in rows], dtype=np.int32),
        np.array([row[1] for row in rows], dtype=np.int32),
        np.array([KINDS.index(row[2]) for row in rows], dtype=np.int8),
        np.array([np.nan if row[3] is None else row[3] for row in rows], dtype=np.float32),
        np.array([np.nan if row[4] is None else row[4] for row in rows], dtype=np.float32),
        np.array([NOW.timestamp() - row[5] for row in rows], dtype=np.float64),
    )


def states_of(events: EventColumns, user: int) -> list[PairState]:
    """What the database would keep: one state per item and kind, like and dislike sharing one."""
    found: dict[tuple[int, Kind], PairState] = {}
    for row in np.flatnonzero(events.user == user):
        kind = KINDS[events.kind[row]]
        shared = Kind.LIKE if kind is Kind.DISLIKE else kind
        value = None if np.isnan(events.value[row]) else float(events.value[row])
        duration = None if np.isnan(events.duration[row]) else float(events.duration[row])
        strength = 1.0 if value is None else value
        if kind is Kind.WATCH:
            strength = min(max(value / duration, 0.0), 1.0) if value is not None and duration else 1.0
        key = (int(events.item[row]), shared)
        before = found.get(key)
        found[key] = PairState(
            events.item_ids[key[0]],
            kind,
            value,
            duration,
            strength if before is None else max(before.peak, strength),
            1 if before is None else before.count + 1,
            datetime.fromtimestamp(float(events.occurred_at[row]), UTC),
        )
    return list(found.values())


event = st.tuples(
    st.integers(0, 2),
    st.integers(0, 3),
    st.sampled_from(list(Kind)),
    st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0, 3.0, 5.0])),
    st.one_of(st.none(), st.just(4.0)),
    st.integers(0, 10**7).map(float),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(event, min_size=1, max_size=40, unique_by=lambda row: (row[0], row[5])))
def test_training_and_serving_see_the_same_history(
    rows: list[tuple[int, int, Kind, float | None, float | None, float]],
) -> None:
    events = columns(rows)
    policy = SignalPolicy(half_life_days=30.0)
    dataset = dataset_from(events, policy, NOW, [], [])
    for row, user_id in enumerate(dataset.users.ids):
        served = history_of(states_of(events, events.user_ids.index(user_id)), policy, NOW)
        trained = entries(dataset, row)
        assert [item for item, _, _ in trained] == [item for item, _, _ in served]
        np.testing.assert_allclose([w for _, w, _ in trained], [w for _, w, _ in served], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose([t for _, _, t in trained], [t for _, _, t in served])


def entries(dataset: Dataset, row: int) -> list[tuple[str, float, float]]:
    one = dataset.histories.rows(row, row + 1)
    ids = [dataset.items.ids[item] for item in one.items]
    return list(zip(ids, one.weights.tolist(), one.times.tolist(), strict=True))


def test_the_catalog_joins_the_training_set_in_id_order() -> None:
    events = columns([(1, 0, Kind.LIKE, None, None, 5.0), (1, 3, Kind.LIKE, None, None, 4.0)])
    items = [Item("i9", NOW, genres=("Drama",)), Item("i2", NOW, genres=("drama", "War"))]
    dataset = dataset_from(events, FOREVER, NOW, items, [User("u1", NOW, {"gender": "F"})])
    assert dataset.users.ids == ("u1",)
    assert dataset.items.ids == ("i2", "i3", "i9")
    assert dataset.item_features is not None
    assert dataset.item_features.names == ("genre:drama",)
    assert dataset.item_features.matrix.toarray().tolist() == [[1.0], [0.0], [1.0]]
    assert dataset.histories.items.tolist() == [1, 0]


def test_features_are_genres_tags_words_and_years_that_two_items_share() -> None:
    items = [
        Item("a", NOW, title="The Matrix", genres=("Sci-Fi",), tags=("Hackers",), year=1999),
        Item("b", NOW, title="the Matrix Reloaded", genres=("sci-fi",), tags=("hackers",), year=1994),
    ]
    names = feature_names(items)
    assert names == ("decade:1990s", "genre:sci-fi", "tag:hackers", "title:matrix", "title:the")
    assert encode_items([*items, None], names).toarray().tolist() == [[1] * 5, [1] * 5, [0] * 5]


def test_profiles_describe_rather_than_identify() -> None:
    events = columns([(user, 0, Kind.LIKE, None, None, 1.0) for user in range(3)])
    users = [User(f"u{n}", NOW, {"gender": "F" if n else "M", "age": 20 + n, "zip": f"z{n}"}) for n in range(3)]
    dataset = dataset_from(events, FOREVER, NOW, [], users)
    assert dataset.user_features is not None
    assert dataset.user_features.names == ("age:20s", "gender:f")
    assert dataset.histories.profiles is not None
    assert dataset.histories.profiles.toarray().tolist() == [[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]]


def test_what_somebody_says_against_an_item_counts_more_than_what_somebody_did() -> None:
    states = [state(Kind.WATCH), state(Kind.PURCHASE), state(Kind.RATING, value=1.0), state(Kind.DISLIKE)]
    [(_item, weight, _time)] = history_of(states, FOREVER, NOW)
    assert weight == pytest.approx(-1.0 - 1 / 3)
