"""`POST /api/v1/events`: each event's outcome, and none of it half."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.application.ingestion.http_ingestion import MAX_LETTERS
from tests.integration.api.running_service import ADMIN, RunningService, api_key, bearer, is_problem, opened_copy, rated


def test_each_event_of_many_has_an_outcome(running: RunningService) -> None:
    good, again = rated("u1", "crime-01"), rated("u1", "crime-01")
    again["timestamp"] = good["timestamp"]
    events = [good, again, rated("u1", "crime-02", rating=6), {"user_id": "u1"}, 7, rated("u2", "crime-03")]
    answer = running.client.post("/api/v1/events", json=events, headers=ADMIN)
    assert answer.status_code == 202
    body = answer.json()
    assert (body["accepted"], body["duplicates"], body["rejected"]) == (2, 1, 3)
    outcomes = [(result["outcome"], result["reason"]) for result in body["results"]]
    assert outcomes == [
        ("accepted", None),
        ("duplicate", None),
        ("rejected", "rating_range"),
        ("rejected", "unsupported"),
        ("rejected", "shape"),
        ("accepted", None),
    ]
    assert body["results"][0]["event_id"] == body["results"][1]["event_id"]
    assert body["results"][2]["field"] == "rating"


def test_the_other_events_of_the_contract_are_taken_in_too(running: RunningService) -> None:
    base = {"user_id": "u1", "timestamp": rated("u1", "x")["timestamp"]}
    events = [
        {**base, "type": "VideoWatched", "video_id": "crime-01", "watched_duration": 60, "total_duration": 120},
        {**base, "type": "WatchlistUpdated", "video_id": "crime-02", "action": "added"},
        {**base, "type": "ItemInteracted", "item_id": "post-1", "kind": "like"},
        {"specversion": "1.0", "id": "e1", "source": "app", "type": "VideoRated", "data": rated("u1", "crime-04")},
    ]
    answer = running.client.post("/api/v1/events", json=events, headers=ADMIN)
    assert answer.json()["accepted"] == 4


def test_an_event_that_cannot_be_taken_in_is_an_error_when_it_is_alone(running: RunningService) -> None:
    answer = running.client.post("/api/v1/events", json=rated("u1", "crime-01", rating=9), headers=ADMIN)
    assert is_problem(answer, 422)
    assert answer.json()["errors"] == [{"in": "body", "pointer": "#/rating", "code": "rating_range"}]


def test_an_event_id_cannot_be_used_for_another_event(running: RunningService) -> None:
    event = {**rated("u1", "crime-01"), "event_id": "0b8f6c1e-5c0f-4a55-9d67-000000000001"}
    assert running.client.post("/api/v1/events", json=event, headers=ADMIN).json()["accepted"] == 1
    assert running.client.post("/api/v1/events", json=event, headers=ADMIN).json()["duplicates"] == 1
    answer = running.client.post("/api/v1/events", json={**event, "rating": 1.0}, headers=ADMIN)
    assert is_problem(answer, 409, "conflict")


def test_people_send_their_own_events(running: RunningService) -> None:
    mine = bearer("u1", "events:write")
    assert running.client.post("/api/v1/events", json=rated("u1", "crime-01"), headers=mine).status_code == 202


MINE = bearer("u1", "events:write", "recs:read")


def ratings(number: int, user: str = "u1") -> list[dict[str, Any]]:
    return [rated(user, f"item-{place}", minutes_ago=place) for place in range(number)]


def test_people_send_a_hundred_events_at_once_and_services_five_thousand(built: Path, tmp_path: Path) -> None:
    with opened_copy(built, tmp_path, rate_limit_per_minute=1_000) as running:
        service = {"Authorization": "Bearer " + api_key(tmp_path, "shop", ["events:write"])}
        assert running.client.post("/api/v1/events", json=ratings(100), headers=MINE).json()["accepted"] == 100
        assert is_problem(running.client.post("/api/v1/events", json=ratings(101), headers=MINE), 422)
        many = running.client.post("/api/v1/events", json=ratings(5_000, "u2"), headers=service)
        assert many.json()["accepted"] == 5_000
        assert [result["index"] for result in many.json()["results"]] == list(range(5_000))
        assert is_problem(running.client.post("/api/v1/events", json=ratings(5_001, "u2"), headers=service), 422)


def test_people_send_64_kilobytes_of_events_at_once(running: RunningService) -> None:
    large = json.dumps({**rated("u1", "crime-01"), "x": "y" * 65_536})
    headers = {"Content-Type": "application/json"}
    refused = running.client.post("/api/v1/events", content=large, headers=MINE | headers)
    assert is_problem(refused, 413, "body-too-large")
    assert refused.headers["connection"] == "close"
    assert running.client.post("/api/v1/events", content=large, headers=ADMIN | headers).status_code == 202


def test_each_event_counts_against_the_limit_all_of_a_request_or_none(built: Path, tmp_path: Path) -> None:
    with opened_copy(built, tmp_path, rate_limit_per_minute=10) as running:
        first = running.client.post("/api/v1/events", json=ratings(7), headers=MINE)
        assert first.headers["ratelimit"].startswith('"default";r=3;')
        refused = running.client.post("/api/v1/events", json=ratings(9)[7:] * 2, headers=MINE)
        assert is_problem(refused, 429, "rate-limited")
        assert len(refused.headers.get_list("ratelimit")) == 1
        assert running.get("/api/v1/recs/u1", MINE).headers["ratelimit"].startswith('"default";r=1;')
        assert running.client.post("/api/v1/events", json=ratings(11), headers=MINE).status_code == 422


@pytest.mark.parametrize("limit", [2, 3])
def test_a_refusal_says_once_how_much_is_left(built: Path, tmp_path: Path, limit: int) -> None:
    with opened_copy(built, tmp_path, rate_limit_per_minute=limit) as running:
        for path in ("/api/v1/recs/u1", "/api/v1/items/crime-00") * 2:
            answer = running.get(path, MINE)
            for name in ("ratelimit", "ratelimit-policy", "retry-after", "x-request-id", "vary"):
                assert len(answer.headers.get_list(name)) <= 1, (path, name)
        assert answer.status_code == 429
        assert len(answer.headers.get_list("ratelimit")) == 1


def erased(running: RunningService, user_id: str) -> None:
    """A user who was there, and is gone."""
    assert running.client.put(f"/api/v1/users/{user_id}", json={}, headers=ADMIN).status_code in {200, 201}
    assert running.client.delete(f"/api/v1/users/{user_id}", headers=ADMIN).status_code == 202


def test_an_event_of_before_an_erasure_is_told_why_it_is_refused(running: RunningService) -> None:
    erased(running, "u1")
    alone = running.client.post("/api/v1/events", json=rated("u1", "crime-01"), headers=ADMIN)
    assert is_problem(alone, 409, "user-erased")
    many = [rated("u1", "crime-01"), rated("u2", "crime-01")]
    [first, second] = running.client.post("/api/v1/events", json=many, headers=ADMIN).json()["results"]
    assert (first["outcome"], first["reason"], first["field"]) == ("tombstoned", "erased", "user_id")
    assert (second["outcome"], second["reason"]) == ("accepted", None)


def test_who_registers_again_is_taken_in_at_once(running: RunningService) -> None:
    erased(running, "u1")
    running.client.put("/api/v1/users/u1", json={}, headers=ADMIN)
    now = rated("u1", "crime-01", minutes_ago=0)
    now["timestamp"] = now["timestamp"][:19] + "Z"  # in whole seconds, as many clients send it
    assert running.client.post("/api/v1/events", json=now, headers=ADMIN).json()["accepted"] == 1
    assert is_problem(running.client.post("/api/v1/events", json=rated("u1", "crime-02"), headers=ADMIN), 409)


def test_erasing_somebody_nobody_knows_has_no_effect(running: RunningService) -> None:
    assert is_problem(running.client.delete("/api/v1/users/u9", headers=ADMIN), 404)
    assert running.client.post("/api/v1/events", json=rated("u9", "crime-01"), headers=ADMIN).json()["accepted"] == 1


def test_removing_an_item_nobody_knows_has_no_effect(running: RunningService) -> None:
    assert is_problem(running.client.delete("/api/v1/items/new", headers=ADMIN), 404)
    older = {"title": "x", "updated_at": "2026-01-01T00:00:00Z"}
    assert running.client.put("/api/v1/items/new", json=older, headers=ADMIN).status_code in {200, 201}
    assert running.get("/api/v1/items/new").status_code == 200


def test_an_id_that_belongs_to_another_event_is_named(running: RunningService) -> None:
    event = {**rated("u1", "crime-01"), "event_id": "0b8f6c1e-5c0f-4a55-9d67-000000000001"}
    other = {**event, "rating": 1.0}
    [first, second] = running.client.post("/api/v1/events", json=[event, other], headers=ADMIN).json()["results"]
    assert (first["outcome"], second["outcome"]) == ("accepted", "conflict")
    assert (second["reason"], second["field"]) == ("id_conflict", "event_id")


EVENT_ID = "0b8f6c1e-5c0f-4a55-9d67-000000000001"


def sent(running: RunningService, user_id: str, event: Any) -> Any:
    """What this person is answered to her own events."""
    return running.client.post("/api/v1/events", json=event, headers=bearer(user_id, "events:write"))


def letters_kept(running: RunningService) -> int:
    with closing(sqlite3.connect(running.folder / "encore.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM dead_letters").fetchone()[0])


def test_what_people_send_and_cannot_be_taken_in_is_answered_and_not_kept(running: RunningService) -> None:
    wrong = rated("u1", "crime-01", rating=9)
    assert is_problem(sent(running, "u1", wrong), 422)
    many = sent(running, "u1", [rated("u1", "crime-01"), wrong, {"user_id": "u1"}, "x" * 1_000])
    assert [result["outcome"] for result in many.json()["results"]] == ["accepted", *["rejected"] * 3]
    assert letters_kept(running) == 0


def test_of_what_a_service_sends_a_bounded_part_is_kept(running: RunningService) -> None:
    one = {**rated("u1", "crime-01"), "event_id": EVENT_ID}
    conflicts = [{**one, "rating": 1 + place / 1_000} for place in range(MAX_LETTERS)]
    wrong = [rated(f"u{place}", "crime-01", rating=9) for place in range(MAX_LETTERS // 2)]
    answer = running.client.post("/api/v1/events", json=[one, *wrong, *conflicts], headers=ADMIN)
    assert answer.json()["rejected"] == len(wrong) + len(conflicts)
    assert letters_kept(running) == MAX_LETTERS


def test_a_refused_body_of_four_megabytes_leaves_nothing_of_a_person_on_disk(running: RunningService) -> None:
    body = json.dumps([{"user_id": "u1"}] * 5_000).encode()[:-1]
    body += b"," + b",".join([b'"' + b"x" * 10_000 + b'"'] * 1) + b"]"
    before = sum(file.stat().st_size for file in running.folder.glob("encore.db*"))
    for user in ("u1", "u2", "u3"):
        answer = running.client.post("/api/v1/events", content=body, headers=bearer(user, "events:write"))
        assert 400 <= answer.status_code < 500
    assert letters_kept(running) == 0
    assert sum(file.stat().st_size for file in running.folder.glob("encore.db*")) - before < 65_536


def test_an_id_of_one_person_says_nothing_about_the_events_of_another(running: RunningService) -> None:
    """Neither by the answer to an event of one's own, nor by taking the id before the real event comes."""
    hers = {**rated("u1", "crime-01"), "event_id": EVENT_ID}
    his = {**rated("u2", "crime-02"), "event_id": EVENT_ID}
    unused = {**rated("u2", "crime-03"), "event_id": EVENT_ID.replace("1", "2")}
    assert sent(running, "u1", hers).json()["accepted"] == 1
    taken, free = sent(running, "u2", his), sent(running, "u2", unused)
    assert taken.status_code == free.status_code == 202
    assert taken.json()["accepted"] == free.json()["accepted"] == 1
    assert taken.json()["results"][0]["event_id"] == EVENT_ID
    from_the_service = {**rated("u3", "crime-04"), "event_id": EVENT_ID}
    assert running.client.post("/api/v1/events", json=from_the_service, headers=ADMIN).json()["accepted"] == 1


def test_an_id_made_of_the_content_of_anothers_event_takes_nothing_from_it(running: RunningService) -> None:
    foreseen = rated("u1", "crime-01")
    identity = running.client.post("/api/v1/events", json=foreseen, headers=ADMIN).json()["results"][0]["event_id"]
    again = rated("u1", "crime-05")
    later = running.client.post("/api/v1/events", json={**again}, headers=ADMIN)
    later_id = later.json()["results"][0]["event_id"]
    for taken in (identity, later_id):
        assert sent(running, "u2", {**rated("u2", "crime-02"), "event_id": taken}).json()["accepted"] == 1


def test_a_person_may_send_an_event_again_and_is_told_of_a_conflict_of_her_own(running: RunningService) -> None:
    event = {**rated("u1", "crime-01"), "event_id": EVENT_ID}
    assert sent(running, "u1", event).json()["accepted"] == 1
    assert sent(running, "u1", event).json()["duplicates"] == 1
    assert is_problem(sent(running, "u1", {**event, "rating": 1.0}), 409)


def test_an_event_stored_under_its_plain_id_is_known_to_the_person_who_sent_it(running: RunningService) -> None:
    """As events of before ids were scoped are."""
    event = {**rated("u1", "crime-01"), "event_id": EVENT_ID}
    assert running.client.post("/api/v1/events", json=event, headers=ADMIN).json()["accepted"] == 1
    assert sent(running, "u1", event).json()["duplicates"] == 1
    assert sent(running, "u2", {**event, "user_id": "u2"}).json()["accepted"] == 1


@pytest.mark.parametrize("wrapped", [True, False])
def test_ids_in_an_envelope_are_scoped_like_those_in_the_event(running: RunningService, wrapped: bool) -> None:
    def wrap(event: Any) -> Any:
        if not wrapped:
            return {**event, "event_id": EVENT_ID}
        return {"specversion": "1.0", "id": EVENT_ID, "source": "app", "type": "VideoRated", "data": event}

    assert sent(running, "u1", wrap(rated("u1", "crime-01"))).json()["accepted"] == 1
    assert sent(running, "u2", wrap(rated("u2", "crime-02"))).json()["accepted"] == 1
