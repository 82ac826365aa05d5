"""One set of rules for what may come in: docs/reliability.md, V1–V16, and whatever Hypothesis thinks of."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.application.ingestion.event_decoding import ItemRemoval, content_identity, decode_event
from app.domain.entities import Interaction, Item, Kind
from app.domain.exceptions import EventRejectedError

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
WATCHED: dict[str, object] = {
    "user_id": "u1",
    "video_id": "v1",
    "watched_duration": 30,
    "total_duration": 120.0,
    "timestamp": "2026-11-20T10:00:00Z",
    "device": "tv",
}
RATED: dict[str, object] = {"user_id": "u1", "video_id": "v1", "rating": 4.5, "timestamp": "2026-11-20T10:00:00Z"}
EVENT_ID = "11111111-2222-4333-8444-555555555555"


def interaction(event: Mapping[str, object] | bytes) -> Interaction:
    decoded = decode_event(event if isinstance(event, bytes) else json.dumps(event).encode(), NOW)
    assert isinstance(decoded, Interaction)
    return decoded


def reason(raw: bytes | dict[str, object]) -> str:
    with pytest.raises(EventRejectedError) as caught:
        decode_event(raw, NOW)
    return caught.value.reason


def test_a_bare_watch_event_becomes_an_interaction() -> None:
    decoded = interaction(WATCHED)

    assert decoded == Interaction(
        decoded.event_id, "u1", "v1", Kind.WATCH, datetime(2026, 11, 20, 10, tzinfo=UTC), 30.0, 120.0, "tv"
    )


def test_ratings_watchlist_changes_and_other_kinds_are_told_apart_by_their_fields() -> None:
    removed = {"user_id": "u1", "video_id": "v1", "action": "removed", "timestamp": 1_795_000_000}
    liked = {"user_id": "u1", "item_id": "p1", "kind": "like", "timestamp": "2026-11-20T11:00:00+01:00"}

    assert (interaction(RATED).kind, interaction(RATED).value) == (Kind.RATING, 4.5)
    assert (interaction(removed).kind, interaction(removed).value) == (Kind.WATCHLIST, 0.0)
    assert (interaction(liked).kind, interaction(liked).value) == (Kind.LIKE, None)
    assert interaction(liked).occurred_at == datetime(2026, 11, 20, 10, tzinfo=UTC)


def test_a_type_wins_over_what_topic_and_fields_imply() -> None:
    named = decode_event({**RATED, "type": "com.example.VideoRated"}, NOW, name="VideoWatched")

    assert isinstance(named, Interaction)
    assert named.kind is Kind.RATING


def test_the_topic_names_an_event_that_does_not_name_itself() -> None:
    removal = decode_event(b'{"item_id": "v1", "updated_at": "2026-11-21T08:00:00Z"}', NOW, name="ItemRemoved")

    assert removal == ItemRemoval("v1", datetime(2026, 11, 21, 8, tzinfo=UTC))


def test_a_structured_cloud_event_gives_identity_type_and_time() -> None:
    data = {key: value for key, value in RATED.items() if key != "timestamp"}
    cloud = {"specversion": "1.0", "id": EVENT_ID, "source": "/profile", "type": "VideoRated", "data": data}

    decoded = interaction({**cloud, "time": "2026-11-20T10:00:00Z"})

    assert decoded.event_id == UUID(EVENT_ID)
    assert decoded.occurred_at == datetime(2026, 11, 20, 10, tzinfo=UTC)


def test_cloud_event_ids_that_are_no_uuid_are_unique_with_their_source() -> None:
    cloud = {"specversion": "1.0", "id": "7", "source": "/a", "type": "VideoRated", "data": RATED}

    assert interaction(cloud).event_id == interaction(cloud).event_id
    assert interaction(cloud).event_id != interaction({**cloud, "source": "/b"}).event_id


def test_an_event_without_an_id_is_identified_by_its_content() -> None:
    reordered = dict(reversed(WATCHED.items()))
    same_moment = {**WATCHED, "timestamp": "2026-11-20T12:00:00+02:00"}

    assert interaction(WATCHED).event_id == interaction(reordered).event_id == interaction(same_moment).event_id
    assert interaction(WATCHED).event_id != interaction({**WATCHED, "watched_duration": 31}).event_id


def test_a_given_event_id_is_kept() -> None:
    assert interaction({**RATED, "event_id": EVENT_ID}).event_id == UUID(EVENT_ID)


def test_watching_more_than_everything_counts_as_everything() -> None:
    assert interaction({**WATCHED, "watched_duration": 130}).value == 120.0


def test_fields_we_do_not_know_are_ignored() -> None:
    assert interaction({**RATED, "app_version": {"major": 3}}).value == 4.5


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b'{"user_id": "\xff"}', "decode"),
        (b"\xef\xbb\xbf{}", "decode"),
        ('{"user_id": "u1"}'.encode("utf-16"), "decode"),
        (b"\x1f\x8b\x08\x00gzip", "decode"),
        (b"[]", "shape"),
        (b"null", "shape"),
        (b"1", "shape"),
        (b'{"user_id": "\\ud800"}', "decode"),
        (b'{"rating": NaN}', "decode"),
        (b'{"rating": 1e999}', "decode"),
        (b"[" * 100_000 + b"]" * 100_000, "decode"),
        (b'{"a": "' + b"x" * 5_000_000 + b'"}', "too_large"),
        (b"{}", "unsupported"),
    ],
)
def test_bytes_that_are_no_event_are_rejected_with_their_reason(raw: bytes, code: str) -> None:
    assert reason(raw) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"type": "VideoDeleted"}, "unsupported"),
        ({"type": 5}, "unsupported"),
        ({"schema_version": 99}, "unsupported"),
        ({"action": "added"}, "ambiguous"),
        ({"event_id": ""}, "event_id"),
        ({"event_id": "not-a-uuid"}, "event_id"),
        ({"event_id": "a" * 100_000}, "event_id"),
        ({"rating": -1}, "rating_range"),
        ({"rating": 6}, "rating_range"),
        ({"rating": "5"}, "rating_range"),
        ({"rating": True}, "rating_range"),
        ({"rating": 1e308}, "rating_range"),
        ({"user_id": True}, "user_id"),
        ({"user_id": 1.5}, "user_id"),
        ({"user_id": None}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "train"}, "user_id"),
        ({"user_id": "u\x001"}, "user_id"),
        ({"user_id": "u1\n"}, "user_id"),
        ({"user_id": "x" * 257}, "user_id"),
        ({"video_id": "../etc"}, "item_id"),
        ({"video_id": "v1\n"}, "item_id"),
        ({"device": "a\x00b"}, "device"),
        ({"timestamp": "2026-11-20T10:00:00"}, "timestamp"),
        ({"timestamp": "2026-06-30T23:59:60Z"}, "timestamp"),
        ({"timestamp": "10000-01-01T00:00:00Z"}, "timestamp"),
        ({"timestamp": 1_795_000_000_000}, "timestamp_range"),
        ({"timestamp": 1e300}, "timestamp_range"),
        ({"timestamp": "1970-01-01T00:00:00Z"}, "timestamp_range"),
        ({"timestamp": "2036-11-21T09:00:00Z"}, "timestamp_range"),
    ],
)
def test_a_rating_with_one_wrong_field_is_rejected_with_its_reason(change: dict[str, object], code: str) -> None:
    assert reason(json.dumps({**RATED, **change}).encode()) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"watched_duration": -1}, "duration_range"),
        ({"watched_duration": 1e12, "total_duration": 1e12}, "duration_range"),
        ({"total_duration": 0}, "duration_range"),
    ],
)
def test_a_watch_with_impossible_seconds_is_rejected(change: dict[str, object], code: str) -> None:
    assert reason({**WATCHED, **change}) == code


@pytest.mark.parametrize("field", ["user_id", "video_id", "timestamp"])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(EventRejectedError) as caught:
        decode_event({key: value for key, value in RATED.items() if key != field}, NOW)

    assert (caught.value.reason, caught.value.field) == ("missing_field", field)


def test_the_accepted_window_of_time_is_exact() -> None:
    for inside in (NOW + timedelta(minutes=5), NOW - timedelta(days=400)):
        assert interaction({**RATED, "timestamp": inside.isoformat()}).occurred_at == inside
    for outside in (NOW + timedelta(minutes=5, microseconds=1), NOW - timedelta(days=400, microseconds=1)):
        assert reason({**RATED, "timestamp": outside.isoformat()}) == "timestamp_range"


def test_numbers_that_json_cannot_hold_are_rejected_when_they_come_parsed() -> None:
    for number in (float("nan"), float("inf")):
        assert reason({**RATED, "rating": number}) in {"rating_range", "value_range"}


def test_a_lone_surrogate_that_comes_parsed_is_rejected() -> None:
    assert reason({**RATED, "user_id": "\ud800"}) == "user_id"
    assert reason({**RATED, "device": "\ud800"}) == "device"


def test_an_item_upsert_becomes_a_catalog_entry() -> None:
    upsert = {"item_id": "v1", "title": "Heat", "genres": ["Crime", "Crime"], "published_at": "1995-12-15T00:00:00Z"}

    item = decode_event({**upsert, "type": "ItemUpserted"}, NOW)

    assert item == Item(
        "v1", NOW, "Heat", genres=("Crime",), year=1995, published_at=datetime(1995, 12, 15, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"item_id": 7.5}, "item_id"),
        ({"title": "a\x00b"}, "catalogue"),
        ({"genres": [""]}, "catalogue"),
        ({"year": 10_000}, "catalogue"),
        ({"attributes": {"a": "x" * 20_000}}, "catalogue"),
        ({"attributes": {"a": {"b": "\x00"}}}, "catalogue"),
        ({"updated_at": "2027-01-01T00:00:00Z"}, "timestamp_range"),
    ],
)
def test_a_catalog_entry_that_cannot_be_stored_is_rejected(change: dict[str, object], code: str) -> None:
    assert reason({"item_id": "v1", "type": "ItemUpserted", **change}) == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    [*WATCHED, "rating", "type", "event_id", "kind", "action", "specversion", "data", "id", "value"]
)


# Building Hypothesis' table of Unicode takes seconds on a busy machine, once.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(change=st.dictionaries(FIELDS, JSON, max_size=5))
def test_whatever_comes_is_either_valid_or_rejected_with_a_reason(change: dict[str, object]) -> None:
    with contextlib.suppress(EventRejectedError):
        decoded = decode_event({**RATED, **change}, NOW)
        assert isinstance(decoded, Interaction | Item | ItemRemoval)


@given(raw=st.binary(max_size=200))
def test_random_bytes_are_rejected_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(EventRejectedError):
        decode_event(raw, NOW)


def test_two_events_that_differ_in_one_thing_alone_are_two_events() -> None:
    """Every part of the identity counts, the device too."""

    def identity(**change: Any) -> UUID:
        given = {"user_id": "u1", "item_id": "v1", "kind": Kind.WATCH, "occurred_at": NOW, "value": 60.0}
        return content_identity(**{**given, "duration": 90.0, "device": "tv", **change})

    others = (
        {"user_id": "u2"}, {"item_id": "v2"}, {"kind": Kind.VIEW}, {"occurred_at": NOW + timedelta(microseconds=1)},
        {"value": 61.0}, {"duration": 91.0}, {"device": "phone"}, {"device": None},
    )  # fmt: skip
    assert len({identity(), *(identity(**change) for change in others)}) == 9
    assert identity() == identity()


def test_no_two_events_have_one_identity_that_nobody_gave_them() -> None:
    plain = interaction(RATED)
    cloud = {"specversion": "1.0", "id": "web", "source": "app", "type": "VideoRated", "data": RATED}
    # a source that spells out the content of an event of somebody else
    micros = int(plain.occurred_at.timestamp() * 1_000_000)
    source = "\0".join(("u1", "v1", "rating", str(micros), "4.5", "None"))
    assert reason({**cloud, "source": source}) == "event_id"
    empty = interaction({**RATED, "device": ""})
    assert (empty.event_id, empty.device) == (plain.event_id, None)
    assert interaction({**RATED, "device": "web"}).event_id != plain.event_id
