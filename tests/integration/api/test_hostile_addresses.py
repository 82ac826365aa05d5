"""Hostile paths, methods, hosts and origins (H8, H26–H35, H42, H45)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.api.running_service import ADMIN, RunningService, bearer, is_problem, opened_copy

LIST = "/api/v1/recs/u1"


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/api/v1/recs/%00", {404, 422}),
        ("/api/v1/recs/a%00b", {404, 422}),
        ("/api/v1/recs/%ff", {400}),
        ("/api/v1/recs/%c3%28", {400}),
        ("/api/v1/recs/a%0d%0aX:%201", {422}),
        ("/api/v1/recs/..%2f..%2fetc%2fpasswd", {404}),
        ("/api/v1/recs/..;/x", {404}),
        ("/api/v1/recs/%252e%252e", {404}),
        ("/api/v1/recs/%2e%2e/items", {404}),
        ("/api/v1//recs/u1", {404}),
        ("/api/v1/recs/u1/", {404}),
        ("/api/v1/RECS/u1", {404}),
        ("/API/v1/recs/u1", {404}),
        ("/api/v1/recs", {404}),
        ("/api/v1/items/1;drop", {404}),
        ("/api/v1/items/" + "x" * 257, {422}),
        ("/api/v1/items/%D0%B0dmin", {404}),
        ("/api/v1/items/a%20b", {404}),
        ("/api/v1/items/a%E2%80%8Bb", {422}),
        ("/api/v1/items/%20b", {422}),
        ("/api/v1/items/a%2F..%2Fb", {404}),
        ("/api/v1/items/$%7bjndi:ldap:x%7d", {404}),
        ("/" + "a" * 60_000, {414}),
        ("/debug", {404}),
        ("/.env", {404}),
        ("/docs/oauth2-redirect", {404}),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_paths_that_try_something_lead_nowhere(shared: RunningService, path: str, statuses: set[int]) -> None:
    """H8, H26–H30, H42, H45: no redirect that could drop the credentials."""
    answer = shared.client.get(path, headers=ADMIN, follow_redirects=False)
    assert answer.status_code in statuses, (path, answer.text)
    assert is_problem(answer, answer.status_code)
    assert "location" not in answer.headers


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "CONNECT", "LINK", "get", "X" * 100])
def test_other_methods_are_told_which_work(shared: RunningService, method: str) -> None:
    """H31."""
    answer = shared.client.request(method, "/api/v1/items/crime-01", headers=ADMIN)
    if method == "get":  # the client writes it in capitals
        assert answer.status_code == 200
        return
    assert is_problem(answer, 405)
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"


def test_a_wrong_method_of_a_known_kind_is_told_too(shared: RunningService) -> None:
    answer = shared.client.delete(LIST, headers=ADMIN)
    assert is_problem(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_head_is_get_without_a_body_and_options_names_methods(shared: RunningService) -> None:
    for path in (LIST, "/api/v1/items/crime-01", "/health"):
        got, head = shared.get(path), shared.client.head(path, headers=ADMIN)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == got.headers["content-length"]
    assert is_problem(shared.get("/api/v1/items/none"), 404)
    assert shared.client.head("/api/v1/items/none", headers=ADMIN).status_code == 404
    options = shared.client.options(LIST)
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert is_problem(shared.client.options("/nowhere"), 404)


def test_method_override_headers_are_ignored(shared: RunningService) -> None:
    """H32."""
    answer = shared.get("/api/v1/items/crime-01", {**ADMIN, "X-HTTP-Method-Override": "DELETE", "X-Method": "DELETE"})
    assert answer.status_code == 200
    assert shared.get("/api/v1/items/crime-01").status_code == 200


def test_forwarded_addresses_are_not_believed(built: Path, tmp_path: Path) -> None:
    """H33: strangers are counted by the peer, whatever they claim."""
    with opened_copy(built, tmp_path, rate_limit_per_minute=3) as running:
        for number in range(3):
            assert running.get(LIST, {"X-Forwarded-For": f"10.0.0.{number}"}).status_code == 401
        answer = running.get(LIST, {"X-Forwarded-For": "10.0.0.9", "Forwarded": "for=10.0.0.9"})
        assert is_problem(answer, 429)
        assert is_problem(running.get(LIST, {"Authorization": "Bearer x.y.z"}), 429)
        assert running.get(LIST, bearer("u1")).status_code == 200
        assert running.get("/health/ready", {}).status_code == 200


def test_hosts_and_origins_mean_nothing(shared: RunningService) -> None:
    """H34, H35."""
    for header in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        answer = shared.get(LIST, {**ADMIN, **header})
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "evil" not in answer.text + str(answer.headers)
    preflight = shared.client.options(LIST, headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in preflight.headers
