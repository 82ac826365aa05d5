"""Forgetting people over HTTP: the order, how far it is, and the certificate."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from app.application.credentials import SCOPES
from app.domain.erasure import certificate_hash
from tests.integration.api.running_service import ADMIN, RunningService, api_key, bearer, is_problem, opened_copy
from tests.integration.api.test_experiments import eventually

USER = "crime-fan-1"


@pytest.fixture(scope="module")
def service(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with opened_copy(built, tmp_path_factory.mktemp("erasures"), rate_limit_per_minute=100_000) as running:
        yield running


def test_somebody_has_themselves_forgotten_and_sees_the_certificate(service: RunningService) -> None:
    mine = bearer(USER, "recs:read", "catalog:write")
    service.get(f"/api/v1/recs/{USER}", mine)

    ordered = service.client.delete(f"/api/v1/users/{USER}", headers=mine)

    assert ordered.status_code == 202
    assert is_problem(service.get(f"/api/v1/users/{USER}", ADMIN), 404)
    address = ordered.headers["location"]
    assert address == f"/api/v1/erasures/{ordered.json()['erasure_id']}"
    eventually(lambda: service.get(address, mine).json()["status"] == "done")
    done = service.get(address, mine).json()
    assert done["certificate"]["is_clean"] is True
    assert certificate_hash(done["certificate"]) == done["certificate_sha256"]
    assert done["stores"]["interactions"]["found"] > 0
    assert done["stores"]["cache"]["found"] > 0
    assert USER not in str(done)
    assert is_problem(service.client.delete(f"/api/v1/users/{USER}", headers=mine), 404)


def test_who_gave_the_order_is_on_record_and_who_was_forgotten_is_not(service: RunningService) -> None:
    key = api_key(service.folder, "crm", SCOPES)
    orders = (
        ("crime-fan-2", bearer("crime-fan-2", "catalog:write")),
        ("crime-fan-3", ADMIN),
        ("crime-fan-4", {"X-API-Key": key}),
    )
    ids = [
        service.client.delete(f"/api/v1/users/{user}", headers=headers).json()["erasure_id"] for user, headers in orders
    ]
    for erasure_id in ids:
        eventually(partial(is_done, service, erasure_id))

    rows = audit_rows(service.folder)
    actors = [rows[erasure_id] for erasure_id in ids]
    assert actors[:2] == ["user:self", "user:boss"]
    assert actors[2].startswith("key:")
    assert not any(user in str(rows) for user, _headers in orders)


def test_nobodys_erasure_is_not_found(service: RunningService) -> None:
    assert is_problem(service.get("/api/v1/erasures/none"), 404)


def is_done(service: RunningService, erasure_id: str) -> bool:
    return bool(service.get(f"/api/v1/erasures/{erasure_id}").json()["status"] == "done")


def audit_rows(folder: Path) -> dict[str, str]:
    with closing(sqlite3.connect(folder / "encore.db")) as connection:
        return dict(connection.execute("SELECT target, actor FROM audit_log").fetchall())
