"""The addresses of the systems that Encore replaces: each documented request, and each field of its answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.config_checks import COMPAT_SYSTEMS
from app.connecting import utc_now
from app.main import COMPAT
from tests.integration.api.running_service import (
    RunningService,
    api_key,
    bearer,
    is_problem,
    opened,
    opened_copy,
    train_again,
)

FAN = "crime-fan-1"


@pytest.fixture(scope="module")
def service(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """The three systems' addresses; `/health` is the posts system's, which is named first."""
    with opened_copy(built, tmp_path_factory.mktemp("compat"), compat="posts, movies,books") as running:
        yield running


def is_moment(value: object) -> bool:
    return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None


def until(holds: Callable[[], bool]) -> None:
    """What serves follows the catalog, in well under a second."""
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline


def put_item(running: RunningService, item_id: str, **fields: Any) -> None:
    answer = running.client.put(
        f"/api/v1/items/{item_id}", json=fields, headers=bearer("boss", "catalog:write", "recs:admin")
    )
    assert answer.status_code in {200, 201}


def test_settings_and_routes_know_the_same_systems() -> None:
    assert set(COMPAT) == set(COMPAT_SYSTEMS)


def test_without_the_setting_none_of_them_answers(shared: RunningService) -> None:
    for path in (f"/recommendations/{FAN}", "/popular", "/admin/model-status", f"/users/{FAN}/recommendations"):
        assert is_problem(shared.get(path), 404), path
    assert set(shared.get("/health", {}).json()) == {"status", "version", "checks"}
    assert not any("compat" in path for path in shared.get("/openapi.json", {}).text.split('"'))


def test_posts_a_list_has_posts_with_tags_community_and_pages(service: RunningService) -> None:
    put_item(service, "crime-19", title="x", genres=["Crime"], tags=["dance", "live"], attributes={"communityId": "c3"})
    until(lambda: "c3" in service.get(f"/recommendations/{FAN}?limit=50", bearer(FAN)).text)
    pages = [service.get(f"/recommendations/{FAN}?limit=20&offset={offset}", bearer(FAN)).json() for offset in (0, 20)]
    first, second = pages
    assert list(first) == ["user_id", "recommendations", "pagination"]
    assert first["user_id"] == FAN
    assert first["pagination"] == {"total": 36, "limit": 20, "offset": 0, "has_more": True}
    assert second["pagination"] == {"total": 36, "limit": 20, "offset": 20, "has_more": False}
    lines = first["recommendations"] + second["recommendations"]
    for line in lines:
        assert list(line) == ["post_id", "score", "metadata"]
        assert isinstance(line["score"], float)
        assert set(line["metadata"]) == {"tags", "communityId"}
    by_id = {line["post_id"]: line["metadata"] for line in lines}
    assert len(by_id) == len(lines) == 36
    assert by_id["crime-19"] == {"tags": ["dance", "live"], "communityId": "c3"}
    ours = service.get(f"/api/v1/recs/{FAN}?limit=36", bearer(FAN)).json()["recommendations"]
    assert [line["post_id"] for line in lines] == [line["item_id"] for line in ours]
    default = service.get(f"/recommendations/{FAN}", bearer(FAN)).json()
    assert default["pagination"]["limit"] == 20
    assert is_problem(service.get(f"/recommendations/{FAN}?limit=101", bearer(FAN)), 422)


def test_posts_a_reload_tells_what_it_found(running: RunningService, tmp_path: Path) -> None:
    with opened(running.folder, compat="posts", model_poll_seconds=15) as service:
        keys = ["reloaded", "reason", "previous_reload_time", "current_reload_time", "num_users", "num_items"]
        answer = service.client.post("/admin/reload-model", headers=bearer("boss", "recs:admin")).json()
        assert list(answer) == ["success", "message", "details"]
        assert list(answer["details"]) == keys
        assert (answer["success"], answer["details"]["reloaded"], answer["details"]["reason"]) == (
            True,
            False,
            "unchanged",
        )
        before = answer["details"]["current_reload_time"]
        assert is_moment(before)
        assert answer["details"]["num_items"] == 40
        assert answer["details"]["num_users"] is None  # this model was made without a training
        model_id = train_again(service.folder)
        answer = service.client.post("/admin/reload-model", headers=bearer("boss", "recs:admin")).json()
        assert (answer["details"]["reloaded"], answer["details"]["reason"]) == (True, "new_champion")
        assert answer["details"]["previous_reload_time"] == before
        assert answer["details"]["current_reload_time"] > before
        state = service.get("/admin/model-status").json()
        assert list(state) == ["model_loaded", "model_id", "model_type", "model_version", "last_reload_time",
                               "num_users", "num_items"]  # fmt: skip
        assert (state["model_loaded"], state["model_id"], state["model_type"]) == (True, model_id, "hybrid")


def test_posts_health_shows_model_database_and_features(service: RunningService) -> None:
    answer = service.get("/health", {})
    health = answer.json()
    assert (answer.status_code, list(health)) == (200, ["status", "components"])
    assert health["status"] == "healthy"
    parts = health["components"]
    assert parts["model"] == {"status": "healthy", "type": "hybrid"}
    assert parts["database"]["status"] == "healthy"
    assert 0 <= parts["database"]["response_time_ms"] < 1_000
    assert parts["features"]["user_features"] == 0
    assert parts["features"]["item_features"] > 0
    assert service.get("/health/ready", {}).json()["status"] == "ready"


def test_movies_recommend_filters_and_tells_the_model(service: RunningService) -> None:
    def asked(headers: Mapping[str, str], **body: Any) -> Any:
        return service.client.post("/recommend", json={"user_id": FAN, **body}, headers=headers)

    filters = {"genres": ["Crime"], "year_min": 1960, "year_max": 1965}
    answer = asked(bearer(FAN), k=5, exclude_seen=False, filters=filters).json()
    assert list(answer) == ["user_id", "recommendations", "model_version", "is_fallback", "fallback_reason"]
    assert (answer["user_id"], answer["model_version"], answer["is_fallback"], answer["fallback_reason"]) == (
        FAN,
        "1",
        False,
        None,
    )
    assert len(answer["recommendations"]) == 5
    for line in answer["recommendations"]:
        assert list(line) == ["movie_id", "title", "score"]
        assert line["movie_id"] in {f"crime-{number}" for number in range(10, 16)}
        assert line["title"].startswith("Crime")
    stranger = asked(bearer("stranger"), user_id="stranger", k=3).json()
    assert (stranger["is_fallback"], stranger["fallback_reason"]) == (True, "no_history")
    assert is_problem(asked(bearer("somebody-else")), 403)
    assert is_problem(asked(bearer(FAN), filters={"year_min": 2000, "year_max": 1999}), 422)
    assert is_problem(asked(bearer(FAN), k=0), 422)


def test_movies_similar_answers_or_says_that_nobody_knows_it(service: RunningService) -> None:
    answer = service.client.post("/similar", json={"movie_id": "crime-05", "k": 3}, headers=bearer()).json()
    assert answer["movie_id"] == "crime-05"
    assert [list(line) for line in answer["recommendations"]] == [["movie_id", "title", "score"]] * 3
    missing = service.client.post("/similar", json={"movie_id": 999}, headers=bearer())
    assert missing.status_code == 404
    assert missing.json() == {"error": "not_found", "message": "there is no such movie"}


def test_movies_popular_by_genre(service: RunningService) -> None:
    answer = service.get("/popular?k=4&genre=Comedy").json()
    assert list(answer) == ["recommendations", "source"]
    assert answer["source"] == "model"
    assert len(answer["recommendations"]) == 4
    for line in answer["recommendations"]:
        assert list(line) == ["movie_id", "title", "popularity_score"]
        assert line["movie_id"].startswith("comedy")
    assert answer["recommendations"][0]["movie_id"] == "comedy-00"


def test_movies_health_where_it_is_named_first(running: RunningService) -> None:
    with opened(running.folder, compat="movies,posts") as service:
        health = service.get("/health", {}).json()
    assert list(health) == ["status", "model_version", "model_loaded_at", "uptime_seconds"]
    assert (health["status"], health["model_version"]) == ("healthy", "1")
    assert is_moment(health["model_loaded_at"])
    assert health["uptime_seconds"] >= 0


@pytest.fixture
def shop(running: RunningService) -> Iterator[tuple[RunningService, Mapping[str, str]]]:
    """The books system, and the key of the services that tell it what happens."""
    key = api_key(running.folder, "shop", ["events:write", "catalog:write", "recs:read"])
    with opened(running.folder, compat="books") as service:
        yield service, {"Authorization": f"Bearer {key}"}


def listed(service: RunningService, headers: Mapping[str, str], user_id: str, query: str = "") -> list[str]:
    answer = service.get(f"/users/{user_id}/recommendations?limit=50{query}", headers).json()
    assert list(answer) == ["user_id", "recommendations", "pagination"]
    assert all(list(line) == ["book_id", "title", "score"] for line in answer["recommendations"])
    return [line["book_id"] for line in answer["recommendations"]]


def test_books_a_purchase_counts_once_and_leaves_the_list(shop: tuple[RunningService, Mapping[str, str]]) -> None:
    service, headers = shop
    assert {"crime-03", "crime-07"} < set(listed(service, headers, "reader"))
    order = {
        "order_id": "o-1",
        "user_id": "reader",
        "items": [{"book_id": "crime-03", "quantity": 2}, {"book_id": "crime-07"}, {"book_id": "crime-07"}],
        "timestamp": utc_now().isoformat(),
    }
    told = service.client.post("/events/purchases", json=order, headers=headers)
    assert (told.status_code, told.json()) == (202, {"accepted": 2, "duplicates": 0})
    assert service.client.post("/events/purchases", json=order, headers=headers).json() == {
        "accepted": 0,
        "duplicates": 2,
    }
    found = listed(service, headers, "reader")
    assert not {"crime-03", "crime-07"} & set(found)
    assert found[0].startswith("crime")
    mixed = listed(service, headers, "reader", "&diversity=1")
    assert mixed != found
    assert sorted(mixed) == sorted(found)


def test_books_what_is_sold_out_is_hidden_at_once(shop: tuple[RunningService, Mapping[str, str]]) -> None:
    service, headers = shop

    def told(book_id: str, in_stock: bool) -> Any:
        body = {"book_id": book_id, "in_stock": in_stock}
        return service.client.post("/events/inventory", json=body, headers=headers)

    assert "crime-05" in listed(service, headers, "reader")
    assert told("crime-05", False).json() == {"accepted": 1, "duplicates": 0}
    assert told("crime-05", False).json() == {"accepted": 0, "duplicates": 1}
    until(lambda: "crime-05" not in listed(service, headers, "reader"))
    entry = service.get("/api/v1/items/crime-05", headers).json()
    assert (entry["available"], entry["title"]) == (False, "Crime Cr5")
    assert told("crime-05", True).json() == {"accepted": 1, "duplicates": 0}
    assert is_problem(told("no-such-book", True), 404)


def test_books_profiles_are_taken_and_the_newest_stays(shop: tuple[RunningService, Mapping[str, str]]) -> None:
    service, headers = shop
    newest = {"user_id": "reader", "attributes": {"country": "NL"}, "updated_at": utc_now().isoformat()}
    assert service.client.post("/events/profiles", json=newest, headers=headers).json() == {
        "accepted": 1,
        "duplicates": 0,
    }
    older = {**newest, "attributes": {"country": "BE"}, "updated_at": "2020-01-01T00:00:00Z"}
    assert service.client.post("/events/profiles", json=older, headers=headers).json()["accepted"] == 0
    assert service.get("/api/v1/users/reader", headers).json()["attributes"] == {"country": "NL"}


def test_each_address_is_documented_under_its_own_tag_with_examples_that_hold(service: RunningService) -> None:
    document = service.get("/openapi.json", {}).json()
    found: dict[str, set[str]] = {}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for tag in operation["tags"]:
                found.setdefault(tag, set()).add(path)
            if not operation["tags"][0].startswith("compat"):
                continue
            for status, answer in operation["responses"].items():
                if status in {"200", "202"}:
                    content = answer["content"]["application/json"]
                    whole = {**content["schema"], "components": document["components"]}
                    assert list(Draft202012Validator(whole).iter_errors(content["example"])) == []
    assert found["compat: posts"] == {
        "/recommendations/{user_id}",
        "/admin/reload-model",
        "/admin/model-status",
        "/health",
    }
    assert found["compat: movies"] == {"/recommend", "/similar", "/popular"}
    assert found["compat: books"] == {
        "/users/{user_id}/recommendations",
        "/events/purchases",
        "/events/inventory",
        "/events/profiles",
    }
