"""A fixed word of a route is no id: whoever had it could be stored, and neither read nor erased. At every door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from fastapi.routing import APIRoute

from app.api.routing import SecuredRoute, fixed_words, refuse_unreachable
from app.api.security import PUBLIC, with_policy
from app.application.ingestion.batch_planning import Rejected
from app.application.ingestion.event_types import TOPICS
from app.application.ingestion.record_decoding import decode_records
from app.application.transfer.row_values import RowError, checked_item, checked_user
from app.connecting import utc_now
from app.domain.entities import Item, User
from app.domain.exceptions import InputError
from app.infrastructure.database import open_database
from app.main import create_app
from tests.integration.api.running_service import ADMIN, RunningService, is_problem, rated, settings_of
from tests.memory_source import MemoryRecord


def words(parameter: str, folder: Any) -> Iterator[str]:
    yield from sorted(fixed_words(create_app(settings_of(folder)).routes, parameter))


def test_the_words_come_from_the_routes(shared: RunningService) -> None:
    assert set(words("user_id", shared.folder)) == {"train", "models", "experiments", "session", "bulk"}
    assert set(words("item_id", shared.folder)) == {"popular", "bulk"}


def test_an_application_whose_routes_take_an_id_away_does_not_start() -> None:
    @with_policy(PUBLIC)
    def nothing() -> None: ...

    routes: list[APIRoute] = [SecuredRoute(path, nothing) for path in ("/users/{user_id}", "/users/newest")]
    refuse_unreachable(routes, {"user_id": {"newest"}, "item_id": ()})
    with pytest.raises(TypeError, match="newest"):
        refuse_unreachable(routes, {"user_id": {"bulk"}})


def events(user_id: str, item_id: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Topic or "", and an event of each kind about this user and item."""
    at = rated(user_id, item_id)["timestamp"]
    both = {"user_id": user_id, "timestamp": at}
    watched = {"watched_duration": 1, "total_duration": 2}
    yield "profile-service.video-rated", {**both, "video_id": item_id, "rating": 4}
    yield "analytics-service.video-watched", {**both, "video_id": item_id, **watched}
    yield "profile-service.watchlist-updated", {**both, "video_id": item_id, "action": "added"}
    yield "", {**both, "item_id": item_id, "kind": "like"}


def test_no_event_over_http_or_kafka_names_such_a_user_or_item(shared: RunningService) -> None:
    pairs = [(word, "crime-01") for word in words("user_id", shared.folder)]
    pairs += [("u1", word) for word in words("item_id", shared.folder)]
    for pair in pairs:
        for topic, event in events(*pair):
            answer = shared.client.post("/api/v1/events", json=event, headers=ADMIN)
            assert is_problem(answer, 422), (pair, event)
            if topic:
                record = MemoryRecord(0, 0, None, answer.request.content, ())
                [decoded] = decode_records(topic, [record], utc_now())
                assert isinstance(decoded, Rejected), (pair, topic)


def test_no_catalog_event_names_such_an_item(shared: RunningService) -> None:
    for topic, name in TOPICS.items():
        for word in words("item_id", shared.folder):
            if name.startswith("Item"):
                record = MemoryRecord(0, 0, None, b'{"item_id": "%s"}' % word.encode(), ())
                assert decode_records(topic, [record], utc_now()) == [Rejected("item_id")]


def test_no_file_names_such_a_user_or_item(shared: RunningService) -> None:
    for check, parameter in ((checked_user, "user_id"), (checked_item, "item_id")):
        for word in words(parameter, shared.folder):
            with pytest.raises(RowError, match="reserved"):
                check(word)


def test_no_route_writes_such_a_user_or_item(shared: RunningService) -> None:
    doors: tuple[tuple[str, str, dict[str, str]], ...] = (
        ("item_id", "items", {"title": "x"}),
        ("user_id", "users", {}),
    )
    for parameter, plural, body in doors:
        for word in words(parameter, shared.folder):
            written = shared.client.put(f"/api/v1/{plural}/{word}", json=body, headers=ADMIN)
            assert written.status_code in {405, 422}, (plural, word)
            many = {plural: [{**body, parameter: word}]}
            assert is_problem(shared.client.post(f"/api/v1/{plural}/bulk", json=many, headers=ADMIN), 422)
            assert shared.get(f"/api/v1/{plural}/{word}").status_code in {200, 404, 405}


async def test_the_store_itself_refuses_them(shared: RunningService) -> None:
    url = settings_of(shared.folder).database_url
    database = await open_database(url, pool_size=1, timeout_seconds=5, lease_seconds=60)
    try:
        for word in words("item_id", shared.folder):
            with pytest.raises(InputError):
                await database.catalog.upsert_items([Item(word, utc_now())])
        for word in words("user_id", shared.folder):
            with pytest.raises(InputError):
                await database.catalog.upsert_users([User(word, utc_now())])
    finally:
        await database.close()
