"""`GET /api/v1/recs/{user_id}` and its relatives, as callers see them (docs/design.md §5)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.api.fast_lane import FastLane
from app.application.recommending import list_cursor
from tests.integration.api.conftest import never
from tests.integration.api.running_service import (
    ADMIN,
    RunningService,
    bearer,
    is_problem,
    opened,
    opened_copy,
    rated,
    train_again,
)

FAN = "crime-fan-3"
LIST = f"/api/v1/recs/{FAN}"


def test_a_list_has_every_field_of_the_contract(shared: RunningService) -> None:
    answer = shared.get(LIST + "?limit=3&explain=true", bearer(FAN))
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == [
        "user_id", "recommendations", "pagination", "model", "experiment",
        "is_fallback", "fallback_reason", "as_of", "request_id",
    ]  # fmt: skip
    assert body["user_id"] == FAN
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["model"]["type"] == "hybrid"
    assert (body["experiment"], body["is_fallback"], body["fallback_reason"]) == (None, False, None)
    assert body["as_of"].endswith("Z")
    lines = body["recommendations"]
    assert [line["rank"] for line in lines] == [1, 2, 3]
    assert set(lines[0]) == {"item_id", "rank", "score", "title", "metadata", "source", "reasons"}
    assert lines[0]["metadata"]["genres"] == ["Crime"]
    assert lines[0]["reasons"]
    assert set(lines[0]["reasons"][0]) == {"kind", "item_id", "title", "contribution"}
    assert [line["score"] for line in lines] == sorted((line["score"] for line in lines), reverse=True)


def test_pages_follow_one_another_by_offset_and_by_cursor(shared: RunningService) -> None:
    whole = [line["item_id"] for line in shared.get(LIST + "?limit=100").json()["recommendations"]]
    seen: list[str] = []
    cursor = ""
    while True:
        body = shared.get(f"{LIST}?limit=7{cursor}").json()
        at = len(seen)
        assert body["pagination"]["offset"] == at
        by_offset = shared.get(f"{LIST}?limit=7&offset={at}").json()
        assert by_offset["recommendations"] == body["recommendations"]
        seen += [line["item_id"] for line in body["recommendations"]]
        assert body["pagination"]["has_more"] is (len(seen) < len(whole))
        if not body["pagination"]["has_more"]:
            assert body["pagination"]["next_cursor"] is None
            break
        cursor = "&cursor=" + body["pagination"]["next_cursor"]
    assert seen == whole
    assert body["pagination"]["total"] == len(whole)


def test_a_cursor_is_good_for_its_own_list_only(shared: RunningService) -> None:
    cursor = shared.get(LIST + "?limit=2").json()["pagination"]["next_cursor"]
    for address in (
        f"/api/v1/recs/crime-fan-4?limit=2&cursor={cursor}",
        f"{LIST}?limit=2&genre=Crime&cursor={cursor}",
        f"{LIST}?limit=2&type=popular&cursor={cursor}",
        f"{LIST}?limit=2&cursor={cursor[:-4]}AAAA",
        f"{LIST}?limit=2&cursor=x",
        f"/api/v1/items?cursor={cursor}",
        f"/api/v1/users?cursor={cursor}",
        f"/api/v1/recs/train?cursor={cursor}",
    ):
        assert is_problem(shared.get(address), 400, "invalid-cursor"), address
    assert is_problem(shared.get(f"{LIST}?offset=1&cursor={cursor}"), 422)


def test_filters_narrow_the_list(shared: RunningService) -> None:
    def ids(query: str) -> set[str]:
        return {line["item_id"] for line in shared.get(f"{LIST}?limit=100&{query}").json()["recommendations"]}

    everything = ids("exclude_seen=false")
    assert ids("genre=Comedy") == {item for item in everything if item.startswith("comedy")}
    assert ids("genre=Comedy&genre=Crime&exclude_seen=false") == everything
    assert ids("exclude=comedy-01&exclude=comedy-02&exclude_seen=false") == everything - {"comedy-01", "comedy-02"}
    assert ids("year_min=2018&exclude_seen=false") == {"comedy-18", "comedy-19"}
    assert ids("year_min=1969&year_max=2000&exclude_seen=false") == {"crime-19", "comedy-00"}
    assert "crime-00" in everything
    assert "crime-00" not in ids("exclude_seen=true")


def test_an_unknown_user_gets_a_list_that_says_what_it_is(shared: RunningService) -> None:
    body = shared.get("/api/v1/recs/nobody-yet", bearer("nobody-yet")).json()
    assert body["recommendations"]
    assert body["is_fallback"] is True
    assert body["fallback_reason"]


def test_what_you_have_is_not_sent_again(shared: RunningService) -> None:
    first = shared.get(LIST, bearer(FAN))
    assert first.headers["cache-control"] == "private, no-cache"
    assert "Authorization" in first.headers["vary"]
    tag = first.headers["etag"]
    for condition in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        again = shared.get(LIST, {**bearer(FAN), "If-None-Match": condition})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert shared.get(LIST, {**bearer(FAN), "If-None-Match": 'W/"other"'}).status_code == 200
    assert shared.get(LIST + "?limit=9", {**bearer(FAN), "If-None-Match": tag}).status_code == 200


def test_an_event_changes_the_next_list_and_its_tag(running: RunningService) -> None:
    before = running.get("/api/v1/recs/newcomer", bearer("newcomer"))
    assert before.json()["is_fallback"] is True
    picks = ["comedy-00", "comedy-03", "comedy-07"]
    sent = running.client.post("/api/v1/events", json=[rated("newcomer", item) for item in picks], headers=ADMIN)
    assert sent.status_code == 202
    after = running.get("/api/v1/recs/newcomer", {**bearer("newcomer"), "If-None-Match": before.headers["etag"]})
    body = after.json()
    assert body["is_fallback"] is False
    shown = [line["item_id"] for line in body["recommendations"]]
    assert not set(picks) & set(shown)
    assert shown[0].startswith("comedy")


def test_a_session_ranks_by_the_history_it_brings(shared: RunningService) -> None:
    body = {"history": ["comedy-01", {"item_id": "comedy-02", "weight": 2.0}], "limit": 5, "explain": True}
    answer = shared.client.post("/api/v1/recs/session", json=body, headers=bearer("visitor"))
    assert answer.status_code == 200
    lines = answer.json()["recommendations"]
    assert len(lines) == 5
    assert lines[0]["item_id"].startswith("comedy")
    assert not {"comedy-01", "comedy-02"} & {line["item_id"] for line in lines}
    assert "user_id" not in answer.json()


def test_similar_items_and_popular_items(shared: RunningService) -> None:
    similar = shared.get("/api/v1/items/crime-00/similar?limit=5").json()
    assert similar["item_id"] == "crime-00"
    assert all(line["item_id"].startswith("crime") for line in similar["recommendations"])
    assert is_problem(shared.get("/api/v1/items/nothing/similar"), 404, "not-found")
    for query in ("", "?window=7d", "?window=3h", "?genre=Crime"):
        popular = shared.get("/api/v1/items/popular" + query).json()
        assert popular["recommendations"][0]["item_id"] == "crime-00", query
    only = shared.get("/api/v1/items/popular?genre=Comedy&limit=100").json()["recommendations"]
    assert {line["item_id"][:6] for line in only} == {"comedy"}
    assert is_problem(shared.get("/api/v1/items/popular?window=forever"), 422)


def without_names(answer: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in answer.items() if name != "request_id"}


@pytest.mark.parametrize(
    "query",
    ["", "?limit=3", "?limit=3&offset=2", "?type=popular", "?genre=Comedy&limit=2", "?explain=true", "?limit=0"],
)
def test_the_fast_lane_answers_what_the_route_answers(
    shared: RunningService, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = shared.get(LIST + query, bearer(FAN))
    monkeypatch.setattr(FastLane, "answered", never)
    route = shared.get(LIST + query, bearer(FAN))
    assert lane.status_code == route.status_code
    assert without_names(lane.json()) == without_names(route.json())
    varying = {"x-request-id", "ratelimit"}
    assert {k: v for k, v in lane.headers.items() if k not in varying} == {
        k: v for k, v in route.headers.items() if k not in varying
    }
    tag = lane.headers.get("etag", "none")
    assert shared.get(LIST + query, {**bearer(FAN), "If-None-Match": tag}).status_code in {304, 422}


@pytest.mark.usefixtures("way")
def test_both_ways_count_once_and_against_the_same_limit(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened_copy(built, tmp_path, rate_limit_per_minute=3) as running:
        for left in (2, 1, 0):
            answer = running.get(LIST, bearer(FAN))
            assert answer.status_code == 200
            assert answer.headers["ratelimit"].startswith(f'"default";r={left};t=')
            assert answer.headers["ratelimit-policy"] == '"default";q=3;w=60'
        for other in (LIST, LIST + "?limit=2", LIST + "?limit=0", "/api/v1/recs/u2"):
            refused = running.get(other, bearer(FAN))
            assert is_problem(refused, 429, "rate-limited")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
        monkeypatch.setattr(FastLane, "answered", never)
        assert is_problem(running.get(LIST, bearer(FAN)), 429, "rate-limited")
        assert running.get("/api/v1/recs/u2", bearer("u2")).status_code == 200


def test_lists_are_the_same_after_a_restart(built: Path, tmp_path: Path) -> None:
    def lines(running: RunningService) -> str:
        return json.dumps(running.get(LIST, bearer(FAN)).json()["recommendations"])

    with opened_copy(built, tmp_path) as running:
        first = lines(running)
    with opened_copy(built, tmp_path / "again") as running:
        assert lines(running) == first


def walked(houses: Sequence[RunningService], query: str, between: Callable[[int], object]) -> list[dict[str, Any]]:
    """All lines, page after page, each page from the next of these applications."""
    lines: list[dict[str, Any]] = []
    cursor, number = "", 0
    while True:
        answer = houses[number % len(houses)].get(f"{LIST}?{query}{cursor}")
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["pagination"]["offset"] == len(lines)
        lines += body["recommendations"]
        if body["pagination"]["next_cursor"] is None:
            assert body["pagination"]["has_more"] is False
            return lines
        cursor, number = "&cursor=" + body["pagination"]["next_cursor"], number + 1
        between(number)


def test_pages_go_on_across_events_swaps_and_replicas_that_share_no_cache(built: Path, tmp_path: Path) -> None:
    with opened_copy(built, tmp_path) as one, opened(tmp_path) as two:
        whole = one.get(LIST + "?limit=100&exclude_seen=false").json()["recommendations"]

        def change(number: int) -> None:
            picks = [rated(FAN, f"comedy-{number + more:02}") for more in range(3)]
            assert two.client.post("/api/v1/events", json=picks, headers=ADMIN).status_code == 202
            if number == 2:
                train_again(tmp_path)

        assert walked((one, two), "limit=6&exclude_seen=false", change) == whole
        assert one.get(LIST + "?limit=100&exclude_seen=false").json()["recommendations"] != whole


def test_pages_go_on_after_a_restart(built: Path, tmp_path: Path) -> None:
    with opened_copy(built, tmp_path) as running:
        whole = running.get(LIST + "?limit=100").json()["recommendations"]
        cursor = running.get(LIST + "?limit=4").json()["pagination"]["next_cursor"]
        picks = [rated(FAN, whole[-1]["item_id"])]
        assert running.client.post("/api/v1/events", json=picks, headers=ADMIN).status_code == 202
    with opened(tmp_path) as running:
        assert running.get(f"{LIST}?limit=100&cursor={cursor}").json()["recommendations"] == whole[4:]


def test_a_cursor_that_has_expired_says_so(shared: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_cursor, "CURSOR_SECONDS", 0.0)
    cursor = shared.get(LIST + "?limit=3&exclude=comedy-09").json()["pagination"]["next_cursor"]
    answer = shared.get(f"{LIST}?limit=3&exclude=comedy-09&cursor={cursor}")
    assert is_problem(answer, 400, "expired-cursor")
    assert answer.json()["errors"] == [{"in": "query", "pointer": "#/cursor", "code": "expired"}]


def test_the_next_page_counts_against_the_limit_on_both_ways(built: Path, tmp_path: Path, way: str) -> None:
    with opened_copy(built, tmp_path, rate_limit_per_minute=2) as running:
        cursor = running.get(LIST + "?limit=30", bearer(FAN)).json()["pagination"]["next_cursor"]
        statuses = [running.get(f"{LIST}?limit=30&cursor={cursor}", bearer(FAN)).status_code for _ in range(2)]
    assert statuses == [200, 429]
