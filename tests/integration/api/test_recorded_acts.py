"""Acts by HTTP are on record: who, by which key, from where, by which request, on what, before and after."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from app.api.routing import SecuredRoute
from app.api.security import act_of, policy_of
from app.application.audit_trail import verify_chain
from app.bootstrap import open_container
from app.domain.audit import AuditRow
from app.domain.pseudonyms import address_pseudonym
from app.main import every_router
from tests.integration.api.running_service import (
    ADMIN,
    SECRET,
    RunningService,
    api_key,
    bearer,
    opened_copy,
    rated,
    settings_of,
    train_again,
)

EXPERIMENT = {
    "name": "popular",
    "hypothesis": "popular is enough",
    "share": 0.5,
    "arms": [{"name": "control", "share": 0.5}, {"name": "popular", "share": 0.5, "type": "popular"}],
}
NO_ACTS = {
    "deleteUser",
    "startCanary",
    "stopCanary",
    "replayDeadLetters",
    "putItem",
    "patchItem",
    "putItems",
    "putUser",
    "putUsers",
}
"""Erasures, canaries and replays put themselves on record; the others write entries, as services do all day."""


@pytest.fixture(scope="module")
def service(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with opened_copy(built, tmp_path_factory.mktemp("recorded"), jobs_url="local://") as running:
        yield running


def rows(running: RunningService, after: int = 0) -> Sequence[AuditRow]:
    async def read() -> Sequence[AuditRow]:
        async with open_container(settings_of(running.folder)) as container:
            assert (await verify_chain(container.database.audit)).problems == ()
            return await container.database.audit.read(after, 100)

    return asyncio.run(read())


def recorded(running: RunningService, after: int) -> list[tuple[str, str, str, str]]:
    return [(row.entry.actor, row.entry.act, row.entry.target, row.entry.outcome) for row in rows(running, after)]


def test_every_route_of_an_operator_declares_its_act() -> None:
    missing = [
        route.operation_id
        for router in every_router()
        for route in router.routes
        if isinstance(route, SecuredRoute)
        and set(route.methods or ()) - {"GET", "HEAD"}
        and policy_of(route.endpoint).scopes & {"recs:admin", "recs:train", "catalog:write"}
        and act_of(route.endpoint) is None
        and route.operation_id not in NO_ACTS
    ]
    assert missing == []


def test_promotions_and_rollbacks_say_who_from_where_and_what_there_was_before(service: RunningService) -> None:
    old = service.get("/api/v1/recs/models").json()["models"][0]["id"]
    new = train_again(service.folder)
    seen = len(rows(service))
    key = api_key(service.folder, "pipeline", ["recs:admin"])

    by_key = {"X-API-Key": key, "X-Request-ID": "promote-it-please"}
    assert service.client.post(f"/api/v1/recs/models/{old}/promote", headers=by_key).status_code == 200
    assert service.client.post("/api/v1/recs/models/rollback", headers=ADMIN).status_code in (200, 404, 409)
    assert service.client.post(f"/api/v1/recs/models/{'0' * 32}/promote", headers=ADMIN).status_code in (404, 422)

    found = [row for row in rows(service, seen) if row.entry.act.startswith("model.")]
    first = found[0].entry
    assert (first.actor, first.act, first.target, first.outcome) == ("key:pipeline", "model.promote", old, "done")
    assert (json.loads(str(first.before)), json.loads(str(first.after))) == ({"champion": new}, {"champion": old})
    assert first.key_id == key.split("_")[2]
    assert first.request_id == "promote-it-please"
    assert first.address == address_pseudonym(SECRET.encode(), "testclient")
    assert {row.entry.actor for row in found[1:]} == {"user:boss"}


def test_each_change_of_an_experiment_is_one_row(service: RunningService) -> None:
    seen = len(rows(service))
    made = service.client.post("/api/v1/recs/experiments", json=EXPERIMENT, headers=ADMIN)
    assert made.status_code == 201, made.text
    which = made.json()["id"]
    for body, status in (({"status": "running"}, 200), ({"status": "stopped"}, 200), ({"status": "running"}, 409)):
        answer = service.client.patch(f"/api/v1/recs/experiments/{which}", json=body, headers=ADMIN)
        assert answer.status_code == status, answer.text
    service.client.patch(f"/api/v1/recs/experiments/{which}", json={"status": "nonsense"}, headers=ADMIN)

    assert recorded(service, seen) == [
        ("user:boss", "experiment.create", which, "done"),
        ("user:boss", "experiment.change", which, "done"),
        ("user:boss", "experiment.change", which, "done"),
        ("user:boss", "experiment.change", which, "failed"),
    ]
    started = rows(service, seen)[1].entry
    assert json.loads(str(started.before))["status"] == "draft"
    assert json.loads(str(started.after))["status"] == "running"


def test_trainings_asked_for_once_have_one_row_however_often_they_are_repeated(service: RunningService) -> None:
    seen = len(rows(service))
    headers = {**bearer("trainer", "recs:train"), "Idempotency-Key": "tonight"}
    body = {"model_type": "hybrid"}
    ids = {service.client.post("/api/v1/recs/train", json=body, headers=headers).json()["training_id"] for _ in "abc"}
    [training_id] = ids
    service.client.delete(f"/api/v1/recs/train/{training_id}", headers=headers)

    found = [row for row in recorded(service, seen) if row[1].startswith("training.")]
    assert found == [
        ("user:trainer", "training.start", training_id, "done"),
        ("user:trainer", "training.cancel", training_id, "done"),
    ]


def test_deletions_are_on_record_and_name_no_person(service: RunningService) -> None:
    seen = len(rows(service))
    own = bearer("leaver", "events:write", "catalog:write")
    service.client.post("/api/v1/events", json=rated("leaver", "crime-01"), headers=own)
    assert service.client.delete("/api/v1/users/leaver", headers=own).status_code < 300
    assert service.client.delete("/api/v1/items/comedy-19", headers=ADMIN).status_code == 204

    assert ("user:boss", "item.delete", "comedy-19", "done") in recorded(service, seen)
    assert ("user:self", "erasure.order") in {row[:2] for row in recorded(service, seen)}
    assert not any("leaver" in repr(row) for row in rows(service, seen))
