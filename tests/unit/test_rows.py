"""Rows of files become interactions, items and users, or are rejected with a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.application.transfer import catalog_file_rows, interaction_file_rows
from app.application.transfer.catalog_file_rows import ITEMS, USERS, Reading
from app.application.transfer.interaction_file_rows import InteractionRows
from app.application.transfer.plain_ratings import plain_ratings
from app.domain.entities import Interaction, Item, Kind, User
from app.domain.exceptions import InputError
from app.domain.files import RowBatch
from app.domain.identifiers import ID_RULE

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHANGED = NOW - timedelta(days=3)
READING = Reading(NOW, CHANGED)
NO_TIME = "timestamp is neither RFC 3339 nor a number of seconds since 1970"
TOO_LARGE = "timestamp is too large for this unit of time: are these milliseconds? --time-unit says so"
UNSTORABLE = " holds characters that cannot be stored, or bytes that are not in the file's encoding"


def batch(*rows: Mapping[str, object]) -> RowBatch:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return RowBatch(columns, [[row.get(name) for name in columns] for row in rows], range(2, len(rows) + 2))


def one(cells: Mapping[str, object], kind: Kind | None = None, mapping: Mapping[str, str] | None = None) -> Interaction:
    good, bad = InteractionRows(NOW, mapping or {}, kind).decode(batch(cells), 0)
    assert bad == []
    return good[0]


def why_not(cells: Mapping[str, object]) -> str:
    good, bad = InteractionRows(NOW, {}).decode(batch(cells), 0)
    assert list(good) == []
    return bad[0].reason


def test_a_row_of_grouplens_is_a_rating() -> None:
    event = one({"userId": "7", "movieId": "50", "rating": "3.5", "timestamp": "964982703"})

    assert (event.user_id, event.item_id, event.kind, event.value) == ("7", "50", Kind.RATING, 3.5)
    assert event.occurred_at == datetime(2000, 7, 30, 18, 45, 3, tzinfo=UTC)


def test_a_pair_without_anything_is_a_view_and_a_kind_can_be_given() -> None:
    assert one({"user": 7.0, "item": 5}).kind is Kind.VIEW
    assert one({"user": 7.0, "item": 5}).user_id == "7"
    assert one({"user_id": "u", "item_id": "i", "value": "4"}).kind is Kind.RATING
    assert one({"user_id": "u", "item_id": "i"}, Kind.PURCHASE).kind is Kind.PURCHASE
    assert one({"user_id": "u", "item_id": "i", "kind": "like"}, Kind.PURCHASE).kind is Kind.LIKE


def test_columns_can_be_named() -> None:
    event = one({"who": "u1", "what": "i1", "user_id": "not this"}, mapping={"user_id": "who", "item_id": "what"})

    assert (event.user_id, event.item_id) == ("u1", "i1")


@pytest.mark.parametrize(
    ("when", "moment"),
    [
        ("2026-03-01T10:00:00Z", NOW - timedelta(hours=2)),
        ("2026-03-01T11:30:00.25+02:00", NOW - timedelta(hours=2, minutes=30) + timedelta(milliseconds=250)),
        ("1772366400.5", NOW + timedelta(milliseconds=500)),
        (1772366400, NOW),
        (datetime(2026, 3, 1, 12), NOW),  # noqa: DTZ001 - Parquet gives naive values for timestamps without a zone
    ],
)
def test_moments_are_rfc_3339_or_unix_seconds(when: object, moment: datetime) -> None:
    assert one({"user_id": "u", "item_id": "i", "timestamp": when}).occurred_at == moment


def test_rows_without_a_timestamp_keep_the_order_of_their_file() -> None:
    good, _ = InteractionRows(NOW, {}).decode(
        batch({"user_id": "u", "item_id": "a"}, {"user_id": "u", "item_id": "b"}), 10
    )

    assert good[0].occurred_at == datetime(2000, 1, 1, 0, 0, 0, 10_000, tzinfo=UTC)
    assert good[1].occurred_at - good[0].occurred_at == timedelta(milliseconds=1)


def test_the_same_row_is_the_same_event_and_a_given_id_is_kept() -> None:
    row = {"user_id": "u", "item_id": "i", "value": "3", "timestamp": "964982703"}

    assert one(row).event_id == one(row).event_id
    assert one({**row, "value": "3.5"}).event_id != one(row).event_id
    assert one({**row, "event_id": str(UUID(int=5))}).event_id == UUID(int=5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"user_id": ""}, "user_id is missing"),
        ({"user_id": " a"}, f"user_id is not a valid id: {ID_RULE}"),
        ({"user_id": "models"}, "user_id is reserved"),
        ({"user_id": True}, "user_id is not text"),
        ({"item_id": None}, "item_id is missing"),
        ({"item_id": "x" * 257}, f"item_id is not a valid id: {ID_RULE}"),
        ({"item_id": 1.5}, "item_id is a number that is not whole"),
        ({"item_id": 2.0**60}, "item_id is a number too large to be exact: write it as text"),
        ({"value": "5.5"}, "a rating is a number from 0.5 to 5; --scale 1..10 converts others"),
        ({"value": "1e999"}, "value is not a number"),
        ({"value": "good"}, "value is not a number"),
        ({"value": "4_0"}, "value is not a number"),
        ({"kind": "hate"}, f"unknown kind: it is none of {', '.join(Kind)}; --map-kind translates others"),
        ({"kind": "rating", "value": ""}, "a rating is a number from 0.5 to 5; --scale 1..10 converts others"),
        ({"kind": "watch", "value": "-1"}, "watched seconds are negative"),
        ({"kind": "watch", "duration": "-1"}, "duration is negative"),
        ({"kind": "watchlist", "value": "2"}, "a watchlist value is 1 (added) or 0 (removed)"),
        ({"timestamp": "0"}, "timestamp is before 1970-01-02 or in the future"),
        ({"timestamp": "1772366701"}, "timestamp is before 1970-01-02 or in the future"),
        ({"timestamp": "1772366400000"}, TOO_LARGE),
        ({"timestamp": "2026-01-01"}, "timestamp has no time zone: --time-zone names one"),
        ({"timestamp": "2026-01-01T00:00:00"}, "timestamp has no time zone: --time-zone names one"),
        ({"timestamp": "yesterday"}, NO_TIME),
        (
            {"timestamp": "0001-01-01T00:00:00+23:00"},
            NO_TIME,
        ),
        ({"event_id": "7"}, "event_id is not a UUID"),
        ({"device": "\x00"}, "device is too long or not printable"),
    ],
)
def test_a_bad_cell_rejects_its_row_with_a_reason(change: Mapping[str, object], reason: str) -> None:
    assert why_not({"user_id": "u", "item_id": "i", "value": "3", "timestamp": "964982703", **change}) == reason


def test_a_rejected_row_names_its_line_and_the_others_are_taken() -> None:
    rows = batch({"user_id": "u", "item_id": "i"}, {"user_id": "", "item_id": "i"}, {"user_id": "v", "item_id": "i"})

    good, bad = InteractionRows(NOW, {}).decode(rows, 0)

    assert [event.user_id for event in good] == ["u", "v"]
    assert [(row.line, row.text) for row in bad] == [(3, ",i")]


CELLS = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["1", "2", "u.3", "a b", " a", "train", ""]),
        "item_id": st.sampled_from(["1", "2", "", "i/1", "..", "e\u0301"]),
        "value": st.sampled_from(["1", "0.5", "4.0", "5", "5.1", "nan", "inf", "4_0", "", "+3", " 3"]),
        "timestamp": st.sampled_from(
            ["964982703", "86400", "86399", "1772366700", "1772366701", "1_0", "-5", "+86400", " 86400", "1.5", "²", ""]
        ),
    }
)
PLAIN_CELLS = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["1", "2", "u.3"]),
        "item_id": st.sampled_from(["1", "2"]),
        "value": st.sampled_from(["1", "0.5", "4.0", "5", "+3", " 3"]),
        "timestamp": st.integers(86_400, 1_772_366_700).map(str),
    }
)


@given(st.lists(CELLS, min_size=1, max_size=3) | st.lists(PLAIN_CELLS, min_size=1, max_size=5))
def test_the_quick_way_gives_what_looking_at_each_row_gives(rows: list[dict[str, str]]) -> None:
    quick = InteractionRows(NOW, {}).decode(batch(*rows), 0)
    careful = InteractionRows(NOW, {}).decode(batch(*({**row, "device": ""} for row in rows)), 0)

    assert list(quick[0]) == list(careful[0])
    assert [(row.line, row.reason) for row in quick[1]] == [(row.line, row.reason) for row in careful[1]]


@settings(deadline=None, max_examples=20)
@given(st.sets(st.integers(0, 1_999), max_size=5))
def test_bad_rows_in_a_large_batch_cost_nobody_else(bad_places: set[int]) -> None:
    rows = [
        {"user_id": "" if place in bad_places else str(place), "item_id": "i", "value": "3", "timestamp": "964982703"}
        for place in range(2_000)
    ]

    good, bad = InteractionRows(NOW, {}).decode(batch(*rows), 0)

    assert good.user_ids == [str(place) for place in range(2_000) if place not in bad_places]
    assert [row.line for row in bad] == [place + 2 for place in sorted(bad_places)]


def test_a_plain_batch_goes_the_quick_way() -> None:
    columns = dict.fromkeys(interaction_file_rows.COLUMNS)
    plain = {"user_id": ["1"], "item_id": ["2"], "value": ["4"], "timestamp": ["964982703"]}

    assert plain_ratings({**columns, **plain}, NOW) is not None
    assert plain_ratings({**columns, **plain, "device": ["tv"]}, NOW) is None


def test_a_file_without_the_needed_columns_is_refused() -> None:
    with pytest.raises(InputError, match="--map"):
        InteractionRows(NOW, {}).decode(batch({"a": "1", "b": "2"}), 0)
    with pytest.raises(InputError, match="--map"):
        InteractionRows(NOW, {"user_id": "missing"}).decode(batch({"user_id": "1", "item_id": "2"}), 0)
    with pytest.raises(InputError, match="--map"):
        ITEMS.decode(batch({"name": "1"}), READING)


def test_an_interaction_written_is_read_as_the_same() -> None:
    event = Interaction(UUID(int=9), "u", "i", Kind.WATCH, NOW - timedelta(microseconds=1), 30.5, 60.0, "tv")

    assert one(dict(zip(interaction_file_rows.COLUMNS, interaction_file_rows.encode(event), strict=True))) == event


def test_a_title_of_grouplens_is_taken_apart() -> None:
    reading = Reading(NOW, CHANGED, is_year_in_title=True)
    titles = ["Toy Story (1995)", "Lola (Run) (1998) ", "Friends (1994–2004)", "(500) Days", "Babylon 5"]

    items, _ = ITEMS.decode(batch(*({"item_id": "1", "title": title} for title in titles)), reading)

    assert [(item.title, item.year) for item in items] == [
        ("Toy Story", 1995),
        ("Lola (Run)", 1998),
        ("Friends", 1994),
        ("(500) Days", None),
        ("Babylon 5", None),
    ]


def test_debris_in_the_year_of_a_ratings_folder_costs_the_year_and_not_the_item() -> None:
    rows = batch({"item_id": "1", "title": "Land Before Time III", "year": "V"})

    items, bad = ITEMS.decode(rows, Reading(NOW, CHANGED, is_year_in_title=True))

    assert (bad, items[0].year, items[0].title) == ([], None, "Land Before Time III")


def test_lists_are_json_or_separated_and_no_genre_is_none() -> None:
    rows = batch(
        {"item_id": "1", "genres": "Comedy|Drama||Comedy", "tags": '["a|b", "c"]'},
        {"item_id": "2", "genres": "(no genres listed)", "tags": ["x"]},
    )

    items, _ = ITEMS.decode(rows, READING)

    assert [(item.genres, item.tags) for item in items] == [(("Comedy", "Drama"), ("a|b", "c")), ((), ("x",))]


def test_unknown_columns_become_attributes_and_the_file_gives_the_time() -> None:
    items, _ = ITEMS.decode(batch({"item_id": "1", "director": "X", "empty": "", "attributes": '{"n": 1}'}), READING)
    users, _ = USERS.decode(batch({"user_id": "1", "age": 34, "gender": None}), READING)

    assert items == [Item("1", CHANGED, attributes={"director": "X", "n": 1})]
    assert users == [User("1", CHANGED, {"age": 34})]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"item_id": "a/../b"}, f"item_id is not a valid id: {ID_RULE}"),
        ({"item_id": "1", "title": "a\0b"}, "title" + UNSTORABLE),
        ({"item_id": "1", "year": "19x"}, "year is not a number"),
        ({"item_id": "1", "year": "1999.5"}, "year is not a whole number"),
        ({"item_id": "1", "genres": "[1]"}, "genres is not a list of texts"),
        ({"item_id": "1", "tags": "[oops"}, "tags: not JSON"),
        ({"item_id": "1", "extra": "a\0b"}, "extra" + UNSTORABLE),
        ({"item_id": "1", "extra": math.inf}, "extra is a number too large to be stored"),
        ({"item_id": "1", "extra": 2**70}, "extra is a number too large to be stored"),
        ({"item_id": "1", "attributes": "[1]"}, "attributes are not a JSON object"),
        ({"item_id": "1", "available": "perhaps"}, "available is neither true nor false"),
        ({"item_id": "1", "updated_at": "2027-01-01T00:00:00Z"}, "updated_at is before 1970-01-02 or in the future"),
    ],
)
def test_a_bad_item_is_rejected_with_a_reason(cells: Mapping[str, object], reason: str) -> None:
    good, bad = ITEMS.decode(batch(cells), READING)

    assert (good, bad[0].reason) == ([], reason)


def test_a_reserved_user_is_rejected() -> None:
    _, bad = USERS.decode(batch({"user_id": "session"}), READING)

    assert bad[0].reason == "user_id is reserved"


def test_items_and_users_written_are_read_as_the_same() -> None:
    item = Item("1", NOW, "T", "D", ("a|b",), ("c",), 1999, NOW, False, NOW, CHANGED, {"x": {"y": [1.5, None]}})
    user = User("u", datetime(1970, 1, 1, tzinfo=UTC), {"age": 3})

    items, _ = ITEMS.decode(
        batch(dict(zip(catalog_file_rows.ITEM_COLUMNS, catalog_file_rows.encode_item(item), strict=True))), READING
    )
    users, _ = USERS.decode(
        batch(dict(zip(catalog_file_rows.USER_COLUMNS, catalog_file_rows.encode_user(user), strict=True))), READING
    )

    assert (items, users) == ([item], [user])
