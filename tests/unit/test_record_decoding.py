"""Records in every accepted shape mean the same event; the short way and the long way judge alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.application.ingestion.batch_planning import DecodedRecord, Rejected
from app.application.ingestion.event_decoding import ItemRemoval, decode_event
from app.application.ingestion.record_decoding import decode_records
from app.domain.entities import Interaction, Item, Kind
from app.domain.exceptions import EventRejectedError
from tests.memory_source import MemoryRecord

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
RATED = "profile-service.video-rated"
EVENT = {"user_id": "u1", "video_id": "v1", "rating": 4.5, "timestamp": "2026-11-20T10:00:00Z"}
ID = "6f1d8f0e-63b5-4f0b-9d2c-0c6a4a1f7a11"
EXPECTED = Interaction(UUID(ID), "u1", "v1", Kind.RATING, datetime(2026, 11, 20, 10, tzinfo=UTC), 4.5)


def one(value: bytes | None, headers: Sequence[tuple[str, bytes]] = (), topic: str = RATED) -> DecodedRecord:
    (event,) = decode_records(topic, [MemoryRecord(0, 0, None, value, headers)], NOW)
    return event


def long_way(value: bytes) -> DecodedRecord:
    try:
        return decode_event(value, NOW, name="VideoRated")
    except EventRejectedError as rejected:
        return Rejected(rejected.reason)


def test_bare_json_without_key_and_headers_is_what_nestjs_sends() -> None:
    assert one(json.dumps({**EVENT, "event_id": ID}).encode()) == EXPECTED


def test_binary_cloudevents_bring_name_and_id_in_headers() -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", ID.encode()), ("ce_type", b"com.example.VideoRated")]
    assert one(json.dumps(EVENT).encode(), headers) == EXPECTED
    assert one(json.dumps(EVENT).encode(), headers, topic="anything") == EXPECTED


def test_structured_cloudevents_bring_them_in_the_body() -> None:
    body = {"specversion": "1.0", "id": ID, "source": "/profile", "type": "VideoRated", "data": EVENT}
    assert one(json.dumps(body).encode()) == EXPECTED


def test_an_id_that_is_no_uuid_is_the_same_event_in_both_modes_of_cloudevents() -> None:
    headers = [("ce_id", b"order-7"), ("ce_source", b"/profile"), ("ce_type", b"VideoRated")]
    body = {"specversion": "1.0", "id": "order-7", "source": "/profile", "type": "VideoRated", "data": EVENT}
    assert one(json.dumps(EVENT).encode(), headers) == one(json.dumps(body).encode())
    assert one(json.dumps(EVENT).encode(), [("ce_id", b"order-7"), ("ce_source", b"/other")]) != one(
        json.dumps(body).encode()
    )


def test_old_histories_may_be_loaded_where_the_setting_says_so() -> None:
    record = MemoryRecord(0, 0, None, json.dumps({**EVENT, "timestamp": 964_982_703}).encode(), ())
    assert decode_records(RATED, [record], NOW) == [Rejected("timestamp_range")]
    (event,) = decode_records(RATED, [record], NOW, timedelta(days=36_500))
    assert isinstance(event, Interaction)
    assert event.occurred_at == datetime(2000, 7, 30, 18, 45, 3, tzinfo=UTC)


def test_a_schema_registry_frame_is_taken_off() -> None:
    assert one(b"\0\0\0\0\x2a" + json.dumps({**EVENT, "event_id": ID}).encode()) == EXPECTED


def test_an_event_that_names_itself_is_believed_over_its_topic() -> None:
    watched = {"watched_duration": 30, "total_duration": 60, "type": "VideoWatched"}
    event = one(json.dumps({**EVENT, **watched, "event_id": ID}).encode())
    assert isinstance(event, Interaction)
    assert event.kind is Kind.WATCH


def test_the_catalog_topics_are_read_too() -> None:
    upserted = one(b'{"item_id":"v1","title":"One"}', topic="catalog-service.item-upserted")
    assert isinstance(upserted, Item)
    removed = one(b'{"item_id":"v1"}', topic="catalog-service.item-removed")
    assert isinstance(removed, ItemRemoval)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"  ", "empty"),
        (b"\0\0\0", "empty"),
        (b"{", "decode"),
        (b"\xff\xfe{\0}\0", "decode"),
        (b"\x1f\x8b\x08", "decode"),
        (b"[]", "shape"),
        (b"null", "shape"),
        (b"1", "shape"),
        (b"[" * 100_000, "decode"),
        (b'{"a":"' + b"x" * 5_000_000 + b'"}', "too_large"),
        (json.dumps({**EVENT, "type": "VideoBurnt"}).encode(), "unsupported"),
        (json.dumps({**EVENT, "schema_version": 99}).encode(), "unsupported"),
        (json.dumps({**EVENT, "event_id": "1"}).encode(), "event_id"),
        (json.dumps({**EVENT, "rating": 6}).encode(), "rating_range"),
        (json.dumps({**EVENT, "rating": "5"}).encode(), "rating_range"),
        (b'{"user_id":"u1","video_id":"v1","rating":NaN,"timestamp":"2026-11-20T10:00:00Z"}', "decode"),
        (json.dumps({**EVENT, "user_id": "a\0b"}).encode(), "user_id"),
        (json.dumps({**EVENT, "user_id": "\ud800"}).encode(), "decode"),
        (json.dumps({**EVENT, "timestamp": "1970-01-01T00:00:00Z"}).encode(), "timestamp_range"),
        (json.dumps({**EVENT, "timestamp": "2026-11-20T10:00:00"}).encode(), "timestamp"),
        (json.dumps({**EVENT, "timestamp": 1_795_000_000_000}).encode(), "timestamp_range"),
        (json.dumps({"user_id": "u1", "rating": 4, "timestamp": "2026-11-20T10:00:00Z"}).encode(), "missing_field"),
    ],
)
def test_a_record_that_cannot_be_taken_in_says_why(value: bytes | None, reason: str) -> None:
    assert one(value) == Rejected(reason)


def test_fields_that_came_later_are_ignored() -> None:
    assert one(json.dumps({**EVENT, "event_id": ID, "mood": {"deep": [1]}}).encode()) == EXPECTED


def test_a_flood_of_headers_is_not_read() -> None:
    flood = [(f"h{number}", b"x") for number in range(1_000)]
    assert one(json.dumps({**EVENT, "event_id": ID}).encode(), [*flood, ("ce_id", b"other")]) == EXPECTED


def test_headers_that_are_no_text_are_refused() -> None:
    assert one(json.dumps(EVENT).encode(), [("ce_id", b"\xff")]) == Rejected("decode")


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.sampled_from(["u1", "", "models", "a/b", "x" * 200, 1, None]),
        "video_id": st.sampled_from(["v1", "v1\n", "\x00", None]),
        "rating": st.sampled_from([0.5, 5, 5.1, -1, "4", True, None]),
        "timestamp": st.sampled_from(
            ["2026-11-20T10:00:00Z", "2026-11-20T10:00:00", "2020-01-01T00:00:00Z", 1_795_000_000, -1, "soon"]
        ),
        "event_id": st.sampled_from([ID, "1", "", None, 7]),
        "type": st.sampled_from(["VideoRated", "VideoWatched", "x.VideoRated", "Other", 1]),
        "schema_version": st.sampled_from([1, "1", 2]),
        "device": st.sampled_from(["tv", "", "\x00", 1]),
        "extra": st.integers(),
    },
)


@settings(max_examples=500, deadline=None)
@given(st.one_of(FIELDS, FIELDS.map(lambda fields: {**EVENT, **fields})))
def test_the_short_way_and_the_long_way_give_the_same_answer(fields: dict[str, object]) -> None:
    body = json.dumps(fields).encode()
    assert one(body) == long_way(body)
