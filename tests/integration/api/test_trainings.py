"""Trainings and models over HTTP. The training itself runs in a process of its own, as in production."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.integration.api.running_service import (
    ADMIN,
    RunningService,
    bearer,
    is_problem,
    opened_copy,
    train_again,
)

TRAIN = "/api/v1/recs/train"


def start(running: RunningService, model_type: str = "hybrid", key: str | None = None) -> Any:
    headers = ADMIN if key is None else {**ADMIN, "Idempotency-Key": key}
    return running.client.post(TRAIN, json={"model_type": model_type}, headers=headers)


def test_a_training_is_started_once_watched_and_cancelled(running: RunningService) -> None:
    first = start(running, key="key-1")
    assert first.status_code == 202
    training = first.json()
    assert first.headers["location"] == f"{TRAIN}/{training['training_id']}"
    assert int(first.headers["retry-after"]) >= 1
    again = start(running, key="key-1")
    assert again.json()["training_id"] == training["training_id"]
    other = start(running, "content", key="key-1")
    assert is_problem(other, 409, "idempotency-key-reused")
    busy = start(running)
    assert is_problem(busy, 409, "training-running")
    assert busy.json()["training_id"] == training["training_id"]
    shown = running.get(first.headers["location"]).json()
    assert shown["status"] in {"queued", "running"}
    assert 0 <= shown["progress"] <= 1
    assert running.client.delete(first.headers["location"], headers=ADMIN).status_code == 202
    deadline = time.monotonic() + 60
    while running.get(first.headers["location"]).json()["status"] not in {
        "cancelled",
        "rejected",
        "failed",
        "promoted",
    }:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert start(running).status_code == 202
    page = running.get(f"{TRAIN}?limit=1").json()
    assert len(page["trainings"]) == 1
    rest = running.get(f"{TRAIN}?limit=1&cursor={page['pagination']['next_cursor']}").json()
    assert rest["trainings"][0]["training_id"] == training["training_id"]
    assert rest["pagination"]["has_more"] is False


def test_the_models_of_the_libraries_are_asked_for_by_name(running: RunningService) -> None:
    started = start(running, "bpr")
    assert started.status_code == 202
    assert running.client.delete(started.headers["location"], headers=ADMIN).status_code == 202
    for name in ("als", "bpr", "lightfm"):
        assert running.get(f"/api/v1/recs/1?type={name}").status_code == 200
    assert is_problem(running.get("/api/v1/recs/1?type=magic"), 422)


def test_trainings_that_cannot_be_are_refused(shared: RunningService) -> None:
    for body in (
        {"model_type": "root"},
        {"model_type": "hybrid", "start_date": "2026-01-02T00:00:00Z", "end_date": "2026-01-01T00:00:00Z"},
        {"model_type": "hybrid", "start_date": "yesterday"},
        {"model_type": "hybrid", "priority": 1},
        {},
    ):
        assert is_problem(shared.client.post(TRAIN, json=body, headers=ADMIN), 422), body
    for method in ("GET", "DELETE"):
        assert is_problem(shared.client.request(method, f"{TRAIN}/nothing", headers=ADMIN), 404)


def test_models_are_listed_shown_promoted_and_rolled_back(running: RunningService) -> None:
    listed = running.get("/api/v1/recs/models").json()["models"]
    assert [model["status"] for model in listed] == ["champion"]
    first = listed[0]["id"]
    assert running.get(f"/api/v1/recs/models/{first}").json() == {**listed[0], "notes": {}}
    assert is_problem(running.client.post("/api/v1/recs/models/rollback", headers=ADMIN), 404)
    second = train_again(running.folder)
    until_served(running, second)
    rolled = running.client.post("/api/v1/recs/models/rollback", json={"model_type": "hybrid"}, headers=ADMIN)
    assert (rolled.status_code, rolled.json()["model"]["id"]) == (200, first)
    until_served(running, first)
    promoted = running.client.post(f"/api/v1/recs/models/{second}/promote", headers=ADMIN).json()
    assert promoted["model"]["id"] == second
    assert promoted["epoch"] > rolled.json()["epoch"]
    until_served(running, second)
    for path in ("/api/v1/recs/models/none", "/api/v1/recs/models?type=root"):
        assert running.get(path).status_code in {404, 422}
    assert is_problem(running.client.post("/api/v1/recs/models/none/promote", headers=ADMIN), 404)


def until_served(running: RunningService, model_id: str) -> None:
    deadline = time.monotonic() + 60
    while running.get("/api/v1/recs/crime-fan-1", bearer("crime-fan-1")).json()["model"]["id"] != model_id:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_rollback_without_a_body_is_one_of_the_type_that_serves(built: Path, tmp_path: Path) -> None:
    with opened_copy(built, tmp_path, train_model_type="content") as running:
        train_again(running.folder)  # there is a hybrid to go back to, and no content model
        assert is_problem(running.client.post("/api/v1/recs/models/rollback", headers=ADMIN), 404)
        assert is_problem(running.client.post("/api/v1/recs/models/rollback", json={}, headers=ADMIN), 404)
        named = running.client.post("/api/v1/recs/models/rollback", json={"model_type": "hybrid"}, headers=ADMIN)
        assert named.status_code == 200


def test_a_canary_is_started_by_command_seen_over_http_served_and_stopped(
    running: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = running.get("/api/v1/recs/models").json()["models"][0]["id"]
    second = train_again(running.folder)
    until_served(running, second)
    assert running.client.post(f"/api/v1/recs/models/{first}/promote", headers=ADMIN).status_code == 200
    until_served(running, first)
    path = f"/api/v1/recs/models/{second}/canary"
    assert is_problem(running.client.get(path, headers=ADMIN), 404)
    assert is_problem(running.client.post(f"/api/v1/recs/models/{first}/canary", headers=ADMIN), 409)
    falling = running.client.post(path, json={"steps": [0.5, 0.25]}, headers=ADMIN)
    assert is_problem(falling, 422)
    assert falling.json()["errors"][0]["pointer"] == "#/steps"

    monkeypatch.setenv("ENCORE_ENVIRONMENT", "test")
    monkeypatch.setenv("ENCORE_DATABASE_URL", f"sqlite+aiosqlite:///{running.folder}/encore.db")
    monkeypatch.setenv("ENCORE_ARTIFACTS_URL", f"file:{running.folder}/artifacts")
    command = CliRunner().invoke(app, ["models", "promote", second, "--canary", "50%", "--hours", "48", "--json"])
    assert command.exit_code == 0, command.output
    assert json.loads(command.output)["canary"]["steps"] == [0.5, 1.0]
    assert running.client.get(path, headers=ADMIN).json()["share"] == 0.5
    assert is_problem(running.client.post(path, headers=ADMIN), 409)
    users = [f"visitor-{number}" for number in range(20)]
    eventually(lambda: {model_of(running, user) for user in users} == {first, second})

    stopped = running.client.delete(path, headers=ADMIN).json()
    assert (stopped["status"], stopped["share"]) == ("stopped", 0.0)
    eventually(lambda: {model_of(running, user) for user in users} == {first})


def eventually(told: Callable[[], bool]) -> None:
    """Servers poll; fifteen seconds at most."""
    deadline = time.monotonic() + 15
    while not told():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def model_of(running: RunningService, user: str) -> str:
    model_id: str = running.get(f"/api/v1/recs/{user}", bearer(user)).json()["model"]["id"]
    return model_id
