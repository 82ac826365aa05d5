"""Hostile requests above the socket (docs/reliability.md, H1–H16 and H26–H43): refused as listed, never a 500, nothing
repeated. `test_hostile_sockets.py` has the rest.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.api.running_service import ADMIN, RunningService, bearer, is_problem, rated

LIST = "/api/v1/recs/u1"
CANARY = "c4n4ry"


def post(running: RunningService, path: str, body: bytes, **headers: str) -> Any:
    return running.client.post(path, content=body, headers={**ADMIN, "content-type": "application/json", **headers})


def event(**changes: Any) -> bytes:
    return json.dumps({**rated("u1", "crime-05"), **changes}).encode()


@pytest.mark.parametrize(
    ("case", "body", "statuses"),
    [
        ("H1 a number longer than an id", event(user_id=10**256), {422}),
        ("H1 half a number for an id", event(user_id=1.5), {422}),
        ("H1 a truth for an id", event(user_id=True), {422}),
        ("H5 NaN", event().replace(b"5.0", b"NaN"), {400, 422}),
        ("H6 1e999", event().replace(b"5.0", b"1e999"), {422}),
        ("H7 NUL", event(user_id="a\0b"), {422}),
        ("H9 half a surrogate pair", event(device="\ud800"), {422}),
        ("H10 5,000 digits", event().replace(b"5.0", b"9" * 5_000), {400, 422}),
        ("H11 100k deep", b"[" * 100_000 + b"]" * 100_000, {400}),
        ("H11 1M deep", b"[" * 1_000_000, {400}),
        ("H12 duplicate keys", event()[:-1] + b',"user_id":"u2"}', {400}),
        ("H13 a text for a number", event(rating="5"), {422}),
        ("H13 true for a number", event(rating=True), {422}),
        ("not an object", b'"event"', {422}),
        ("null", b"null", {422}),
        ("no events", b"[]", {422}),
        ("empty", b"", {400}),
        ("half", b'{"user_id"', {400}),
        ("UTF-16", event().decode().encode("utf-16"), {400}),
        ("too many", b"[" + b",".join([b"1"] * 5_001) + b"]", {422}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_events_that_cannot_be_are_refused(shared: RunningService, case: str, body: bytes, statuses: set[int]) -> None:
    answer = post(shared, "/api/v1/events", body)
    assert answer.status_code in statuses, (case, answer.text)
    assert is_problem(answer, answer.status_code)


@pytest.mark.parametrize("number", [7, -7, 2**63, 10**31])
def test_a_number_is_the_id_of_its_digits(shared: RunningService, number: int) -> None:
    """H1: what a database's integers could not hold is text here, and found again by its digits."""
    rating = rated("u1", "crime-05")
    by_number, by_digits = (
        post(shared, "/api/v1/events", json.dumps({**rating, "user_id": one}).encode()) for one in (number, str(number))
    )
    assert by_number.status_code == by_digits.status_code == 202
    assert by_digits.json()["duplicates"] == 1
    assert by_number.json()["results"][0]["event_id"] == by_digits.json()["results"][0]["event_id"]


@pytest.mark.parametrize(
    "body",
    [
        {"history": ["crime-01"], "limit": 2**63},
        {"history": ["crime-01"], "limit": -1},
        {"history": ["crime-01"], "limit": 0},
        {"history": ["crime-01"], "limit": 101},
        {"history": ["crime-01"], "limit": True},
        {"history": ["crime-01"], "limit": "1"},
        {"history": ["crime-01"], "limit": 1.0},
        {"history": ["crime-01"], "limit": 1e30},
        {"history": ["crime-01"], "exclude_seen": "true"},
        {"history": ["crime-01"], "exclude_seen": 1},
        {"history": ["crime-01"], "role": "admin"},
        {"history": ["crime-01"], "is_admin": True},
        {"history": ["crime-01"], "user_id": "u2"},
        {"history": [10**256]},
        {"history": [1.5]},
        {"history": [" a"]},
        {"history": ["a\\b"]},
        {"history": ["a/;drop"]},
        {"history": ["crime-01"] * 201},
        {"history": [{"item_id": "crime-01", "weight": "1"}]},
        {"history": [{"item_id": "crime-01", "weight": 11}]},
        {"history": [{"item_id": "crime-01", CANARY: 1}]},
        {"history": None},
        {},
        [],
    ],
    ids=str,
)
def test_bodies_are_strict_and_bounded(shared: RunningService, body: Any) -> None:
    """H2, H3, H13, H14, H15."""
    answer = post(shared, "/api/v1/recs/session", json.dumps(body).encode())
    assert is_problem(answer, 422, "invalid-request")
    assert CANARY not in answer.text
    assert "admin" not in answer.text
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=2147483648", "limit=-1", "limit=0", "limit=1000000000", "limit=1&limit=2", "limit=1.0", "limit=1e1",
        "limit=+1", "limit=%201", "limit=1_0", "limit=true", "limit=", "limit=%D9%A1", "offset=-1", "offset=1000000",
        "offset=1;drop", "exclude_seen=1", "exclude_seen=yes", "explain=TRUE", "type=root", "type=", "unknown=1",
        "year_min=-1", "year_min=2000&year_max=1990", "exclude=%20a", "exclude=a%5Cb", "exclude=../x", "genre=",
        "genre=%00", "genre=a%0d%0ab", "type=hybrid&type=popular",
        "cursor=", "sort=id%20desc,%20(select%20pg_sleep(5))",
        "&".join(f"exclude=i{n}" for n in range(101)),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("way")
def test_queries_are_strict_and_bounded(shared: RunningService, query: str) -> None:
    """H2, H3, H4, H13, H14, H42."""
    answer = shared.get(f"{LIST}?{query}", bearer("u1"))
    assert is_problem(answer, 422), (query, answer.text)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "", "application/json; charset=utf-16", "application/x-www-form-urlencoded", "multipart/form-data"],
)
def test_other_content_types_are_not_read(shared: RunningService, content_type: str) -> None:
    """H36, H39."""
    answer = shared.client.post(
        "/api/v1/recs/session", content=b'{"history":[]}', headers={**ADMIN, "content-type": content_type}
    )
    assert is_problem(answer, 415)


def test_compressed_bodies_are_not_read(shared: RunningService) -> None:
    """H37."""
    assert is_problem(post(shared, "/api/v1/events", b"\x1f\x8b", **{"content-encoding": "gzip"}), 415)


def test_ranges_are_ignored(shared: RunningService) -> None:
    """H38."""
    ranges = "bytes=" + ",".join(f"{n}-" for n in range(1_000))
    answer = shared.get(LIST, {**ADMIN, "Range": ranges})
    assert answer.status_code == 200


def test_bodies_past_the_cap_are_refused(shared: RunningService) -> None:
    """H16, H17: 64 KiB, or 4 MiB where many things come at once."""
    big = json.dumps({"history": [], CANARY: "x" * 70_000}).encode()
    for path, size in (("/api/v1/recs/session", 0), ("/api/v1/items/bulk", 4_200_000)):
        answer = post(shared, path, big + b" " * size)
        assert is_problem(answer, 413)
        assert answer.headers["connection"] == "close"
    assert is_problem(post(shared, "/api/v1/events", json.dumps({f"k{n}": 0 for n in range(200_000)}).encode()), 422)


def test_a_body_without_a_length_is_cut_at_the_cap(shared: RunningService) -> None:
    """H18."""

    def endless() -> Any:
        yield b'{"history":["'
        for _ in range(100):
            yield b"x" * 10_000

    answer = shared.client.post(
        "/api/v1/recs/session", content=endless(), headers={**ADMIN, "content-type": "application/json"}
    )
    assert is_problem(answer, 413)


def test_idempotency_keys_are_bounded(shared: RunningService) -> None:
    """H40; reuse is in test_trainings.py."""
    for key in ("k" * 10_000, "k" * 129, "a b"):
        answer = shared.client.post(
            "/api/v1/recs/train", json={"model_type": "hybrid"}, headers=[*ADMIN.items(), ("Idempotency-Key", key)]
        )
        assert is_problem(answer, 422), key


def test_answers_may_not_be_shared_between_callers(shared: RunningService) -> None:
    """H43."""
    for path in (LIST, "/api/v1/items", "/api/v1/users/crime-fan-1", "/nowhere"):
        headers = shared.get(path).headers
        assert headers["cache-control"].startswith("private")
        assert "Authorization" in headers["vary"]
        assert headers["x-content-type-options"] == "nosniff"


def test_a_harmless_request_id_is_kept_and_another_replaced(shared: RunningService) -> None:
    assert shared.get(LIST, {**ADMIN, "X-Request-Id": "trace-me-12345"}).json()["request_id"] == "trace-me-12345"
    for bad in ("x", "a b c d e f g h", "x" * 65, '"}, "admin": "1'):
        answer = shared.get(LIST, {**ADMIN, "X-Request-Id": bad})
        assert answer.json()["request_id"] == answer.headers["x-request-id"] != bad


def test_a_refused_request_repeats_nothing(shared: RunningService) -> None:
    """A6: what comes in must not come out of any refusal."""
    attempts = [
        shared.get(f"/api/v1/items/{CANARY};x"),
        shared.get(f"{LIST}?{CANARY}={CANARY}"),
        shared.get(f"{LIST}?limit={CANARY}"),
        shared.get(f"/{CANARY}"),
        shared.get(LIST, {"Authorization": f"Bearer {CANARY}"}),
        post(shared, "/api/v1/recs/session", json.dumps({CANARY: CANARY, "history": [CANARY + " "]}).encode()),
        post(shared, "/api/v1/recs/session", f'{{"{CANARY}'.encode()),
        post(shared, "/api/v1/events", event(rating=CANARY)),
        shared.client.put("/api/v1/items/i1", json={"attributes": {CANARY: {CANARY: "x" * 20_000}}}, headers=ADMIN),
        shared.client.put("/api/v1/users/u1", json={"attributes": {CANARY: [CANARY]}}, headers=ADMIN),
        shared.client.request(CANARY.upper(), LIST, headers=ADMIN),
    ]
    for answer in attempts:
        assert 400 <= answer.status_code < 500
        assert is_problem(answer, answer.status_code)
        assert CANARY not in (answer.text + str(answer.headers)).lower()


def test_metrics_know_templates_and_no_paths(shared: RunningService) -> None:
    """H45."""
    shared.get(f"/api/v1/items/{CANARY}")
    shared.get(f"/{CANARY}")
    figures = shared.get("/metrics", {}).text
    assert CANARY not in figures
    assert 'route="/api/v1/items/{item_id}"' in figures
    assert 'route="<unmatched>"' in figures
    assert 'route="/api/v1/recs/{user_id}"' in figures
