"""Experiments from the first call to the results, and the log of lists, over HTTP and the command line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.bootstrap import open_container
from app.domain.request_log import RequestEntry
from tests.integration.api.running_service import (
    ADMIN,
    RunningService,
    api_key,
    bearer,
    is_problem,
    opened_copy,
    rated,
    settings_of,
    train_again,
)

EXPERIMENTS = "/api/v1/recs/experiments"
BODY: Mapping[str, Any] = {
    "name": "More variety",
    "hypothesis": "Variety keeps people watching.",
    "share": 1.0,
    "arms": [{"name": "control", "share": 0.5}, {"name": "popular", "share": 0.5, "type": "popular"}],
}
USERS = [f"crime-fan-{number}" for number in range(10)]


def arms_with(**changes: Any) -> dict[str, Any]:
    """Control, and an arm that changes this."""
    return {"arms": [{"name": "control", "share": 0.5}, {"name": "other", "share": 0.5, **changes}]}


@pytest.fixture
def service(built: Path, tmp_path: Path) -> Iterator[RunningService]:
    """A service of this test's own."""
    with opened_copy(built, tmp_path, model_poll_seconds=0.05) as running:
        yield running


def service_key(service: RunningService) -> dict[str, str]:
    return {"X-API-Key": api_key(service.folder, f"gateway-{uuid4().hex[:8]}", ["recs:read"])}


def logged(service: RunningService, request_id: str) -> RequestEntry | None:
    """What another process finds in the log."""

    async def read() -> RequestEntry | None:
        async with open_container(settings_of(service.folder)) as container:
            return await container.database.request_log.get(request_id)

    return asyncio.run(read())


def created(service: RunningService, **changes: Any) -> dict[str, Any]:
    answer = service.client.post(EXPERIMENTS, json={**BODY, **changes}, headers=ADMIN)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def change(service: RunningService, experiment: Mapping[str, Any], **changes: Any) -> Any:
    return service.client.patch(f"{EXPERIMENTS}/{experiment['id']}", json=changes, headers=ADMIN)


def eventually(told: Callable[[], bool]) -> None:
    """Wait for a server that polls; ten seconds at most."""
    for _ in range(500):
        if told():
            return
        time.sleep(0.02)
    pytest.fail("it did not happen")


def arm_of(service: RunningService, user: str, query: str = "") -> dict[str, Any] | None:
    found: dict[str, Any] | None = service.get(f"/api/v1/recs/{user}{query}", bearer(user)).json()["experiment"]
    return found


def started(service: RunningService, **changes: Any) -> dict[str, Any]:
    experiment = created(service, **changes)
    assert change(service, experiment, status="running").status_code == 200
    eventually(lambda: any(arm_of(service, user) for user in USERS))
    return experiment


def test_a_draft_has_nobody_a_running_experiment_everybody_and_each_stays_in_one_arm(service: RunningService) -> None:
    experiment = created(service)
    assert (experiment["status"], experiment["revision"]) == ("draft", 1)
    assert [arm_of(service, user) for user in USERS] == [None] * 10

    running = change(service, experiment, status="running").json()
    eventually(lambda: arm_of(service, USERS[0]) is not None)
    arms = {user: arm_of(service, user) for user in USERS}

    assert running["status"] == "running"
    assert {arm["variant"] for arm in arms.values() if arm} == {"control", "popular"}
    assert all(arm and arm["id"] == experiment["id"] for arm in arms.values())
    assert {user: arm_of(service, user) for user in USERS} == arms


def test_an_arm_changes_the_list_and_the_answer_a_caller_may_keep(service: RunningService) -> None:
    before = {user: service.get(f"/api/v1/recs/{user}", bearer(user)) for user in USERS}
    popular = {user: service.get(f"/api/v1/recs/{user}?type=popular", bearer(user)) for user in USERS}
    started(service)

    for user in USERS:
        now = service.get(f"/api/v1/recs/{user}", {**bearer(user), "If-None-Match": before[user].headers["etag"]})
        assert now.status_code == 200
        body = now.json()
        expected = before if body["experiment"]["variant"] == "control" else popular
        assert items_of(body) == items_of(expected[user].json())


def items_of(body: Mapping[str, Any]) -> list[str]:
    return [line["item_id"] for line in body["recommendations"]]


def test_who_asks_for_a_type_gets_it_in_every_arm(service: RunningService) -> None:
    started(service)

    for user in USERS:
        body = service.get(f"/api/v1/recs/{user}?type=content", bearer(user)).json()
        assert {line["source"] for line in body["recommendations"]} <= {"content", "popularity"}


def test_a_pause_takes_everybody_out_and_going_on_brings_them_back(service: RunningService) -> None:
    experiment = started(service)
    arms = {user: arm_of(service, user) for user in USERS}

    assert change(service, experiment, status="paused").status_code == 200
    eventually(lambda: arm_of(service, USERS[0]) is None)
    assert change(service, experiment, status="running").status_code == 200
    eventually(lambda: arm_of(service, USERS[0]) is not None)

    assert {user: arm_of(service, user) for user in USERS} == arms


def test_services_may_look_at_any_arm_and_people_may_not(service: RunningService) -> None:
    experiment = started(service)
    query = f"?experiment_id={experiment['id']}&variant=popular"
    user = next(user for user in USERS if (arm_of(service, user) or {})["variant"] == "control")

    preview = service.get(f"/api/v1/recs/{user}{query}", service_key(service))

    assert preview.json()["experiment"]["variant"] == "popular"
    assert is_problem(service.get(f"/api/v1/recs/{user}{query}", bearer(user)), 403)
    assert is_problem(service.get(f"/api/v1/recs/{user}{query}x", service_key(service)), 404)
    assert is_problem(service.get(f"/api/v1/recs/{user}?variant=popular", service_key(service)), 422)


def test_naming_an_experiment_changes_nobodys_arm(service: RunningService) -> None:
    experiment = started(service)
    user = USERS[0]

    assert arm_of(service, user, f"?experiment_id={experiment['id']}") == arm_of(service, user)
    assert is_problem(service.get(f"/api/v1/recs/{user}?experiment_id=other", bearer(user)), 404)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"share": 0}, "/share"),
        ({"share": 1.5}, "/share"),
        ({"name": "tab\tbed"}, "/name"),
        ({"arms": BODY["arms"][:1]}, "/arms"),
        ({"arms": [{"name": f"a{n}", "share": 0.04} for n in range(25)]}, "/arms"),
        ({"arms": [{"name": "control", "share": 0.5}, {"name": "b", "share": 0.4}]}, "/arms"),
        ({"arms": [{"name": "control", "share": 0.5}, {"name": "b", "share": 0.5, "type": "magic"}]}, "/arms/1/type"),
        ({"arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]}, "/arms/0/name"),
        (arms_with(model_id="nobody"), "/arms/1/model_id"),
        (arms_with(model_id="a b"), "/arms/1/model_id"),
        (arms_with(rules=[{"kind": "block", "name": "everything", "select": {}}]), "/arms/1/rules"),
        ({"primary_metric": "money"}, "/primary_metric"),
        ({"guardrail_metrics": ["hit_rate"]}, "/guardrail_metrics"),
        ({"planned_end": "2020-01-01T00:00:00Z"}, "/planned_end"),
        ({"audience": {"country": "FR"}}, ""),
    ],
)
def test_what_cannot_be_run_is_refused_by_field(
    service: RunningService, changes: Mapping[str, Any], field: str
) -> None:
    answer = service.client.post(EXPERIMENTS, json={**BODY, **changes}, headers=ADMIN)

    assert is_problem(answer, 422)
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"#{field}"]


def test_ten_thousand_arms_and_control_characters_are_refused(service: RunningService) -> None:
    many = {**BODY, "arms": [{"name": f"a{number}", "share": 0.0001} for number in range(10_000)]}

    assert is_problem(service.client.post(EXPERIMENTS, json=many, headers=ADMIN), 413)
    assert service.client.post(EXPERIMENTS, json={**BODY, "name": "a\u0000b"}, headers=ADMIN).status_code in (400, 422)


def test_an_arm_answers_by_the_model_it_pins_from_the_cache_too(service: RunningService) -> None:
    champion = service.get("/api/v1/recs/models").json()["models"][0]["id"]
    newer = train_again(service.folder)
    service.client.post(f"/api/v1/recs/models/{champion}/promote", headers=ADMIN)
    service.client.post(f"/api/v1/recs/models/{newer}/promote", headers=ADMIN)
    started(service, **arms_with(model_id=champion))

    def models() -> set[tuple[str, str]]:
        bodies = [service.get(f"/api/v1/recs/{user}", bearer(user)).json() for user in USERS]
        return {(body["experiment"]["variant"], body["model"]["id"]) for body in bodies}

    eventually(lambda: models() == {("control", newer), ("other", champion)})
    assert models() == {("control", newer), ("other", champion)}


def test_an_arm_may_have_rules_of_its_own(service: RunningService) -> None:
    pin = {"kind": "pin", "name": "premiere", "select": {"items": ["comedy-07"]}, "position": 1}
    experiment = started(service, **arms_with(rules=[pin]))

    first = {}
    for user in USERS:
        body = service.get(f"/api/v1/recs/{user}", bearer(user)).json()
        first[body["experiment"]["variant"]] = items_of(body)[0]

    assert first["other"] == "comedy-07" != first["control"]
    shown = service.get(f"{EXPERIMENTS}/{experiment['id']}", ADMIN).json()
    assert shown["arms"][1]["rules"][0]["name"] == "premiere"


def test_more_pinned_models_than_a_server_holds_are_refused(service: RunningService) -> None:
    champion = service.get("/api/v1/recs/models").json()["models"][0]["id"]
    others = [train_again(service.folder) for _ in range(3)]
    arms = [{"name": "control", "share": 0.2}]
    arms += [{"name": f"a{n}", "share": 0.2, "model_id": model_id} for n, model_id in enumerate((champion, *others))]

    refused = change(service, created(service, arms=arms), status="running")

    assert is_problem(refused, 422)
    assert refused.json()["errors"][0]["pointer"] == "#/arms"


def test_of_two_admins_one_wins_and_the_other_is_told(service: RunningService) -> None:
    experiment = created(service)

    first = change(service, experiment, status="running", revision=1)
    second = change(service, experiment, status="stopped", revision=1)

    assert (first.status_code, first.json()["revision"]) == (200, 2)
    assert is_problem(second, 409)


def test_two_experiments_of_a_layer_share_nobody_and_a_full_layer_is_said(service: RunningService) -> None:
    first, second, third = (
        created(service, name=name, share=share) for name, share in (("a", 0.5), ("b", 0.5), ("c", 0.1))
    )

    assert change(service, first, status="running").status_code == 200
    assert change(service, second, status="running").status_code == 200
    assert is_problem(change(service, third, status="running"), 409)
    eventually(lambda: {(arm_of(service, user) or {}).get("id") for user in USERS} == {first["id"], second["id"]})


def test_a_share_only_grows(service: RunningService) -> None:
    experiment = started(service, share=0.9)

    assert is_problem(change(service, experiment, share=0.5), 422)
    assert change(service, experiment, share=1.0).json()["share"] == 1.0


def test_experiments_are_for_admins_and_listed_in_pages(service: RunningService) -> None:
    ids = [created(service, name=f"e{number}")["id"] for number in range(3)]

    first = service.get(f"{EXPERIMENTS}?limit=2", ADMIN).json()
    rest = service.get(f"{EXPERIMENTS}?limit=2&cursor={first['pagination']['next_cursor']}", ADMIN).json()

    assert [one["id"] for one in (*first["experiments"], *rest["experiments"])] == ids[::-1]
    assert is_problem(service.get(EXPERIMENTS, bearer("u1")), 403)
    assert is_problem(service.get(f"{EXPERIMENTS}/nothing", ADMIN), 404)
    assert is_problem(service.get(f"{EXPERIMENTS}/nothing/results", ADMIN), 404)


def test_results_count_what_people_did_with_what_they_were_shown(service: RunningService) -> None:
    experiment = started(service)
    url = f"{EXPERIMENTS}/{experiment['id']}/results"
    lists = {user: service.get(f"/api/v1/recs/{user}", bearer(user)).json() for user in USERS}
    hit = USERS[:6]
    for user in hit:
        event = rated(user, items_of(lists[user])[0], minutes_ago=0)
        assert (
            service.client.post("/api/v1/events", json=event, headers=bearer(user, "events:write")).status_code == 202
        )
    missed = rated(USERS[7], "comedy-19", minutes_ago=60 * 24 * 3)
    service.client.post("/api/v1/events", json=missed, headers=bearer(USERS[7], "events:write"))

    def all_lists() -> int:
        return int(sum(arm["lists"] for arm in service.get(url, ADMIN).json()["arms"]))

    eventually(lambda: all_lists() >= len(USERS))
    found = service.get(url, ADMIN).json()

    assert {arm["name"] for arm in found["arms"]} == {"control", "popular"}
    assert sum(arm["users"] for arm in found["arms"]) == len(USERS)
    hits = sum(arm["metrics"]["hit_rate"] * arm["lists"] for arm in found["arms"] if arm["lists"])
    assert hits == pytest.approx(len(hit))
    assert found["comparisons"] == []
    assert found["is_split_broken"] is False


def test_a_list_is_in_the_log_with_what_was_shown_and_an_erased_user_is_not(service: RunningService) -> None:
    user = USERS[0]
    body = service.get(f"/api/v1/recs/{user}?limit=3", bearer(user)).json()
    service.get("/api/v1/items/popular", bearer(user))

    eventually(lambda: logged(service, body["request_id"]) is not None)
    entry = logged(service, body["request_id"])

    assert entry is not None
    assert (entry.surface, entry.model_version, entry.is_preview) == ("recs", body["model"]["version"], False)
    assert [(one.item_id, one.rank) for one in entry.items] == [
        (line["item_id"], line["rank"]) for line in body["recommendations"]
    ]
    assert user.encode() not in (entry.user or b"")
    assert service.client.delete(f"/api/v1/users/{user}", headers=ADMIN).status_code == 202
    assert logged(service, body["request_id"]) is None
