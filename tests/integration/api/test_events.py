"""`POST /api/v1/events`: each event's outcome, and none of it half."""

from __future__ import annotations

from tests.integration.api.running_service import ADMIN, RunningService, bearer, is_problem, rated


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


def erased(running: RunningService, user_id: str) -> None:
    """A user who was there, and is gone."""
    assert running.client.put(f"/api/v1/users/{user_id}", json={}, headers=ADMIN).status_code in {200, 201}
    assert running.client.delete(f"/api/v1/users/{user_id}", headers=ADMIN).status_code == 204


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
