"""Ids as people have them: letters of any script, spaces, slashes, numbers; one form at every door."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.integration.api.running_service import ADMIN, RunningService, bearer, is_problem, rated

IDS = ["José", "Half Life 2", "a/b", "https://e.org/1", "(12)", ".dot", "日本", "x" * 256]
WORDS = ["x/similar", "similar/x", "train/5", "bulk/1", "popular/x", "session/1", "models/7", "x/history", "x/bulk"]
"""What would be another route if a quoted slash parted segments."""


def path_of(room: str, identity: str) -> str:
    return f"/api/v1/{room}/{quote(identity, safe='')}"


@pytest.mark.parametrize("identity", IDS + WORDS)
def test_an_item_of_this_id_is_kept_found_and_removed(shared: RunningService, identity: str) -> None:
    path = path_of("items", identity)

    put = shared.client.put(path, json={"title": "T"}, headers=ADMIN)
    got = shared.client.get(path, headers=ADMIN)
    gone = shared.client.delete(path, headers=ADMIN)

    assert put.status_code in {200, 201}
    assert got.json()["item_id"] == identity
    assert gone.status_code == 204
    assert is_problem(shared.client.get(path, headers=ADMIN), 404)


@pytest.mark.parametrize("identity", IDS + WORDS)
def test_a_user_of_this_id_has_lists_and_events_of_their_own(shared: RunningService, identity: str) -> None:
    mine = bearer(identity, "recs:read", "events:write")

    listed = shared.client.get(path_of("recs", identity), headers=mine)
    told = shared.client.post("/api/v1/events", json=rated(identity, "crime-01"), headers=mine)
    foreign = shared.client.get(path_of("recs", identity), headers=bearer("u1"))

    assert (listed.status_code, listed.json()["user_id"]) == (200, identity)
    assert told.status_code == 202
    assert is_problem(foreign, 403)


def test_a_quoted_slash_never_leads_to_the_route_behind_it(shared: RunningService) -> None:
    for identity in ("x", "x/similar"):
        shared.client.put(path_of("items", identity), json={"title": identity}, headers=ADMIN)

    item = shared.client.get("/api/v1/items/x%2Fsimilar", headers=ADMIN)
    similar = shared.client.get("/api/v1/items/x/similar", headers=ADMIN)
    both = shared.client.get("/api/v1/items/x%2Fsimilar/similar", headers=ADMIN)

    assert (item.status_code, item.json()["item_id"]) == (200, "x/similar")
    assert similar.status_code == 200
    assert "title" not in similar.json()
    assert both.status_code == 200
    assert "title" not in both.json()
    assert is_problem(shared.client.delete("/api/v1/items/x%2Fsimilar/similar", headers=ADMIN), 405)
    assert shared.client.get("/api/v1/items/x", headers=ADMIN).json()["title"] == "x"


def test_one_letter_is_one_id_however_it_was_typed(shared: RunningService) -> None:
    composed, decomposed = "caf\u00e9-1", "cafe\u0301-1"

    shared.client.put(path_of("items", decomposed), json={"title": "T"}, headers=ADMIN)
    mine = shared.client.get(path_of("recs", composed), headers=bearer(decomposed))

    assert shared.client.get(path_of("items", composed), headers=ADMIN).json()["item_id"] == composed
    assert (mine.status_code, mine.json()["user_id"]) == (200, composed)


def test_a_whole_number_is_its_digits_and_gets_nobody_past_the_owner(shared: RunningService) -> None:
    event = {**rated("4711", "crime-01"), "user_id": 4711}

    assert shared.client.post("/api/v1/events", json=event, headers=bearer("4711", "events:write")).status_code == 202
    assert is_problem(shared.client.post("/api/v1/events", json=event, headers=bearer("u1", "events:write")), 403)
    for other in (True, 4711.5, 1e30):
        refused = shared.client.post("/api/v1/events", json={**event, "user_id": other}, headers=ADMIN)
        assert refused.status_code in {400, 422}


@pytest.mark.parametrize("path", ["items/a%2F..%2Fb", "items/..%2Fb", "items/%2e%2e", "items/a%5Cb", "items/;a"])
def test_what_could_be_read_as_structure_is_no_id(shared: RunningService, path: str) -> None:
    assert is_problem(shared.client.put(f"/api/v1/{path}", json={"title": "T"}, headers=ADMIN), 404)
