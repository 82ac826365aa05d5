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
