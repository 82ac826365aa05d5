"""Every route declares who may use it, and that is what happens: the whole matrix, generated from the OpenAPI document.

OWASP API1, API3 and API5:2023; docs/reliability.md, A2 and A3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from fastapi import APIRouter
from starlette.routing import Route

from app.api.routing import SecuredRoute, refuse_undeclared
from app.api.security import Policy, policy_of, with_policy
from app.application.credentials import SCOPES, issue_token
from app.connecting import utc_now
from app.main import create_app
from tests.integration.api.running_service import (
    SECRET,
    RunningService,
    api_key,
    bearer,
    is_problem,
    opened_copy,
    rated,
    settings_of,
)

PUBLIC = {
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/redoc"),
    ("GET", "/openapi.json"),
    ("GET", "/metrics"),
    ("GET", "/health"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
}
READERS = {"recs:read"}
EXPECTED: Mapping[tuple[str, str], tuple[set[str], bool]] = {
    # (method, path) → (scopes of which one is needed, whether it is for services and admins alone)
    ("GET", "/api/v1/recs/{user_id}"): ({"recs:read"}, False),
    ("GET", "/api/v1/recs/{user_id}/stream"): ({"recs:read"}, False),
    ("GET", "/api/v1/recs/{user_id}/ws"): ({"recs:read"}, False),
    ("POST", "/api/v1/recs/session"): ({"recs:read"}, False),
    ("POST", "/api/v1/recs/{user_id}"): ({"recs:read"}, True),
    ("POST", "/api/v1/recs/train"): ({"recs:train"}, False),
    ("GET", "/api/v1/recs/train"): ({"recs:train"}, False),
    ("GET", "/api/v1/recs/train/{training_id}"): ({"recs:train"}, False),
    ("DELETE", "/api/v1/recs/train/{training_id}"): ({"recs:train"}, False),
    ("GET", "/api/v1/recs/models"): ({"recs:admin", "recs:train"}, False),
    ("GET", "/api/v1/recs/models/{model_id}"): ({"recs:admin", "recs:train"}, False),
    ("POST", "/api/v1/recs/models/{model_id}/promote"): ({"recs:admin"}, False),
    ("POST", "/api/v1/recs/models/rollback"): ({"recs:admin"}, False),
    ("POST", "/api/v1/recs/models/{model_id}/canary"): ({"recs:admin"}, False),
    ("GET", "/api/v1/recs/models/{model_id}/canary"): ({"recs:admin", "recs:train"}, False),
    ("DELETE", "/api/v1/recs/models/{model_id}/canary"): ({"recs:admin"}, False),
    ("GET", "/api/v1/recs/experiments"): ({"recs:admin"}, False),
    ("POST", "/api/v1/recs/experiments"): ({"recs:admin"}, False),
    ("GET", "/api/v1/recs/experiments/{experiment_id}"): ({"recs:admin"}, False),
    ("PATCH", "/api/v1/recs/experiments/{experiment_id}"): ({"recs:admin"}, False),
    ("GET", "/api/v1/recs/experiments/{experiment_id}/results"): ({"recs:admin"}, False),
    ("GET", "/api/v1/items"): ({"recs:read", "catalog:write"}, False),
    ("GET", "/api/v1/items/popular"): ({"recs:read", "catalog:write"}, False),
    ("GET", "/api/v1/items/{item_id}"): ({"recs:read", "catalog:write"}, False),
    ("GET", "/api/v1/items/{item_id}/similar"): ({"recs:read", "catalog:write"}, False),
    ("PUT", "/api/v1/items/{item_id}"): ({"catalog:write"}, False),
    ("PATCH", "/api/v1/items/{item_id}"): ({"catalog:write"}, False),
    ("DELETE", "/api/v1/items/{item_id}"): ({"catalog:write"}, False),
    ("POST", "/api/v1/items/bulk"): ({"catalog:write"}, False),
    ("GET", "/api/v1/users"): ({"catalog:write"}, True),
    ("POST", "/api/v1/users/bulk"): ({"catalog:write"}, True),
    ("GET", "/api/v1/users/{user_id}"): ({"recs:read", "catalog:write"}, False),
    ("PUT", "/api/v1/users/{user_id}"): ({"catalog:write"}, False),
    ("DELETE", "/api/v1/users/{user_id}"): ({"catalog:write"}, False),
    ("GET", "/api/v1/erasures/{erasure_id}"): ({"catalog:write"}, False),
    ("POST", "/api/v1/events"): ({"events:write"}, False),
    ("GET", "/api/v1/users/{user_id}/history"): ({"recs:read"}, False),
    ("GET", "/api/v1/dead-letters"): ({"recs:admin"}, False),
    ("POST", "/api/v1/dead-letters/replay"): ({"recs:admin"}, False),
    ("GET", "/api/v1/reports/{name}"): ({"recs:admin", "recs:train"}, False),
    ("GET", "/api/v1/credential"): (set(SCOPES), False),
    # where ENCORE_COMPAT names the older systems
    ("GET", "/recommendations/{user_id}"): ({"recs:read"}, False),
    ("POST", "/admin/reload-model"): ({"recs:admin"}, False),
    ("GET", "/admin/model-status"): ({"recs:admin", "recs:train"}, False),
    ("POST", "/recommend"): ({"recs:read"}, False),
    ("POST", "/similar"): ({"recs:read", "catalog:write"}, False),
    ("GET", "/popular"): ({"recs:read", "catalog:write"}, False),
    ("GET", "/users/{user_id}/recommendations"): ({"recs:read"}, False),
    ("POST", "/events/purchases"): ({"events:write"}, True),
    ("POST", "/events/inventory"): ({"catalog:write"}, False),
    ("POST", "/events/profiles"): ({"catalog:write"}, True),
}
COMPAT = "posts,movies,books"
BODIES: Mapping[tuple[str, str], Any] = {
    ("POST", "/api/v1/recs/session"): {"history": ["crime-01"]},
    ("POST", "/api/v1/recs/{user_id}"): {"rules": []},
    ("POST", "/api/v1/recs/train"): {"model_type": "hybrid"},
    ("POST", "/api/v1/recs/models/rollback"): {"model_type": "hybrid"},
    ("POST", "/api/v1/recs/experiments"): {
        "name": "x",
        "share": 0.1,
        "arms": [{"name": "control", "share": 0.5}, {"name": "b", "share": 0.5}],
    },
    ("PATCH", "/api/v1/recs/experiments/{experiment_id}"): {"status": "paused"},
    ("PUT", "/api/v1/items/{item_id}"): {"title": "x"},
    ("PATCH", "/api/v1/items/{item_id}"): {"title": "x"},
    ("POST", "/api/v1/items/bulk"): {"items": [{"item_id": "i1"}]},
    ("PUT", "/api/v1/users/{user_id}"): {},
    ("POST", "/api/v1/users/bulk"): {"users": [{"user_id": "u9"}]},
    ("POST", "/api/v1/dead-letters/replay"): {"ids": [1]},
    ("POST", "/recommend"): {"user_id": "u1"},
    ("POST", "/similar"): {"movie_id": "crime-19"},
    ("POST", "/events/inventory"): {"book_id": "crime-19", "in_stock": True},
    ("POST", "/events/profiles"): {"user_id": "u9"},
}
ENDLESS = ("GET", "/api/v1/recs/{user_id}/stream")
"""An answer that does not end: its head says whether it would come."""
DESTRUCTIVE = {("POST", "/api/v1/recs/train"), ("DELETE", "/api/v1/items/{item_id}")}


@pytest.fixture(scope="module")
def service(built: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningService, str, str]]:
    """The application, a key with every scope, and one with a scope that no route of the matrix needs alone."""
    folder = tmp_path_factory.mktemp("policies")
    with opened_copy(built, folder, rate_limit_per_minute=1_000_000, compat=COMPAT) as running:
        yield running, api_key(folder, "everything", SCOPES), api_key(folder, "trains-only", ["recs:train"])


def operations(running: RunningService) -> list[tuple[str, str]]:
    paths = running.client.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def ask(running: RunningService, operation: tuple[str, str], user_id: str, headers: Mapping[str, str]) -> Any:
    method, path = operation
    if operation == ENDLESS:
        answer = running.client.head(path.format(user_id=user_id), headers=headers)
        if answer.status_code == 200:
            return answer
    body = BODIES.get(operation)
    if operation == ("POST", "/api/v1/events"):
        body = rated(user_id, "crime-05")
    if operation == ("POST", "/events/purchases"):
        sold = {"order_id": "o1", "user_id": user_id, "items": [{"book_id": "crime-05"}]}
        body = {**sold, "timestamp": utc_now().isoformat()}
    address = path.format(
        user_id=user_id,
        item_id="crime-19",
        name="kpis",
        **dict.fromkeys(("training_id", "model_id", "experiment_id", "erasure_id"), "none"),
    )
    return running.client.request(method, address, headers=headers, json=body)


def test_the_document_knows_every_route_and_this_test_every_operation(service: tuple[RunningService, str, str]) -> None:
    assert set(operations(service[0])) == set(EXPECTED) | PUBLIC


def test_every_route_declares_what_this_test_expects(tmp_path: Any) -> None:
    for route in create_app(settings_of(tmp_path, compat=COMPAT)).routes:
        assert isinstance(route, SecuredRoute)
        policy = policy_of(route.endpoint)
        for method in route.methods or ():
            if policy.public:
                assert (method, route.path) in PUBLIC or not route.include_in_schema
            else:
                scopes, for_anyone = EXPECTED[method, route.path]
                assert (set(policy.scopes), policy.for_anyone) == (scopes, for_anyone)
                assert policy.owner == ("user_id" if "{user_id}" in route.path else None)


def test_a_route_without_a_policy_stops_the_application() -> None:
    router = APIRouter(route_class=SecuredRoute)

    async def naked() -> None:
        """Nobody said who may."""

    with pytest.raises(TypeError, match="declares no policy"):
        router.get("/naked")(naked)
    with pytest.raises(TypeError, match="no policy"):
        refuse_undeclared([Route("/naked", lambda request: None)])
    with pytest.raises(TypeError, match="declares no policy"):
        router.get("/empty")(with_policy(Policy())(naked))


def test_nobody_gets_in_without_credentials_that_hold(service: tuple[RunningService, str, str]) -> None:
    running = service[0]
    expired = issue_token(SECRET, subject="u1", scopes=SCOPES, lifetime_seconds=-60, now=utc_now())
    forged = issue_token("another secret that is long enough 123", subject="u1", scopes=SCOPES, now=utc_now())
    for operation in EXPECTED:
        for headers in ({}, {"Authorization": f"Bearer {expired}"}, {"Authorization": f"Bearer {forged}"},
                        {"Authorization": "Basic dTE6eA=="}, {"X-API-Key": "rec_test_x"}):  # fmt: skip
            answer = ask(running, operation, "u1", headers)
            assert is_problem(answer, 401, "invalid-token"), (operation, headers)
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_each_scope_opens_its_routes_and_no_other(service: tuple[RunningService, str, str]) -> None:
    running = service[0]
    for operation, (needed, for_anyone) in EXPECTED.items():
        if operation in DESTRUCTIVE:
            continue
        for scope in SCOPES:
            answer = ask(running, operation, "u1", bearer("u1", scope))
            allowed = scope in needed and (not for_anyone or scope == "recs:admin")
            assert (answer.status_code not in {401, 403}) is allowed, (operation, scope, answer.text)


@pytest.mark.usefixtures("way")
def test_people_reach_their_own_user_id_and_services_and_admins_any(service: tuple[RunningService, str, str]) -> None:
    running, key, small_key = service
    mine = bearer("u1", *(scope for scope in SCOPES if scope != "recs:admin"))
    admin, machine = bearer("boss", *SCOPES), {"Authorization": f"Bearer {key}"}
    owned = [
        operation
        for operation, (_scopes, for_anyone) in EXPECTED.items()
        if not for_anyone and ("{user_id}" in operation[1] or operation[1] == "/api/v1/events")
    ]
    assert len(owned) == 10
    for operation in owned:
        assert is_problem(ask(running, operation, "crime-fan-1", mine), 403, "forbidden"), operation
        assert is_problem(ask(running, operation, "u1", {"Authorization": f"Bearer {small_key}"}), 403), operation
        for headers, user_id in ((mine, "u1"), (admin, "u2"), (machine, "u3"), ({"X-API-Key": key}, "u4")):
            status = ask(running, operation, user_id, headers).status_code
            # 409: an erased user's event; 426: no WebSocket was asked for
            assert status in {200, 202, 204, 404, 409, 426}, (operation, user_id)


def test_somebody_elses_id_reads_like_one_that_nobody_has(service: tuple[RunningService, str, str]) -> None:
    """Refused before anything is looked up, so there is nothing that could take longer for one of them."""
    running = service[0]
    mine = bearer("u1", "recs:read", "catalog:write")
    for operation in (("GET", "/api/v1/recs/{user_id}"), ("GET", "/api/v1/users/{user_id}")):
        shapes = set()
        for user_id in ("crime-fan-1", "nobody-at-all"):
            answer = ask(running, operation, user_id, mine)
            document = answer.json()
            shapes.add((answer.status_code, tuple(document), document["type"], len(answer.content)))
        assert len(shapes) == 1


def test_an_event_about_somebody_else_hides_in_no_wrapping(service: tuple[RunningService, str, str]) -> None:
    running = service[0]
    mine, other = rated("u1", "crime-05"), rated("u2", "crime-05")
    wrapped = {"specversion": "1.0", "id": "1", "source": "x", "type": "VideoRated", "data": other, "user_id": "u1"}
    for body in (other, [mine, other], wrapped, [mine, wrapped]):
        assert is_problem(running.client.post("/api/v1/events", json=body, headers=bearer("u1", "events:write")), 403)


def test_two_credentials_at_once_are_ambiguous(service: tuple[RunningService, str, str]) -> None:
    running, key, _ = service
    both = {**bearer("u1"), "X-API-Key": key}
    assert is_problem(running.get("/api/v1/recs/u1", both), 400, "ambiguous-credentials")


def test_credentials_in_the_address_are_never_read(service: tuple[RunningService, str, str]) -> None:
    token = bearer("u1")["Authorization"].removeprefix("Bearer ")
    for name in ("token", "access_token", "api_key"):
        assert is_problem(service[0].get(f"/api/v1/recs/u1?{name}={token}", {}), 401)


def test_operations_can_be_closed_to_a_public_port(built: Any, tmp_path: Any) -> None:
    with opened_copy(built, tmp_path, operations_open=False) as running:
        for path in ("/metrics", "/docs", "/redoc", "/openapi.json", "/", "/debug"):
            assert is_problem(running.get(path, {}), 404), path
        assert running.get("/health/ready", {}).status_code == 200
