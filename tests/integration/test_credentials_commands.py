"""`encore token` and `encore api-keys`, and that the server takes what they make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.integration.api.running_service import SECRET, build, opened, settings_of

FAN = "crime-fan-3"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built service, and the environment that points at it."""
    build(tmp_path)
    settings = settings_of(tmp_path)
    monkeypatch.setenv("ENCORE_ENVIRONMENT", "test")
    monkeypatch.setenv("ENCORE_JWT_SECRET", SECRET)
    monkeypatch.setenv("ENCORE_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("ENCORE_ARTIFACTS_URL", settings.artifacts_url)
    return tmp_path


def run(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == exit_code, result.output
    return result.stdout.strip()


def test_a_token_from_the_command_line_opens_its_owners_list(folder: Path) -> None:
    token = run("token", "--sub", FAN)
    made = json.loads(run("token", "--sub", "boss", "--scope", "recs:read,recs:admin", "--ttl", "15m", "--json"))
    assert made["scopes"] == ["recs:admin", "recs:read"]
    assert made["expires_in_seconds"] == 900
    with opened(folder) as running:
        assert running.get(f"/api/v1/recs/{FAN}", {"Authorization": f"Bearer {token}"}).status_code == 200
        assert running.get("/api/v1/recs/u1", {"Authorization": f"Bearer {token}"}).status_code == 403
        assert running.get("/api/v1/recs/u1", {"Authorization": f"Bearer {made['token']}"}).status_code == 200


def test_tokens_the_server_would_refuse_are_not_made(folder: Path) -> None:
    run("token", "--sub", "a\tb", exit_code=1)
    run("token", "--sub", "u1", "--scope", "root", exit_code=1)
    run("token", "--sub", "u1", "--ttl", "30d", exit_code=1)
    run("token", "--sub", "u1", "--ttl", "soon", exit_code=2)


def test_keys_are_made_listed_used_and_revoked(folder: Path) -> None:
    made = json.loads(run("api-keys", "create", "nestjs", "--scope", "recs:read", "--scope", "events:write", "--json"))
    listed = run("api-keys", "list", "--json")
    assert made["key"] not in listed
    assert [key["client"] for key in json.loads(listed)["keys"]] == ["nestjs"]
    with opened(folder) as running:
        key = {"X-API-Key": made["key"]}
        assert running.get(f"/api/v1/recs/{FAN}", key).status_code == 200
        assert running.get("/api/v1/recs/train", key).status_code == 403
    run("api-keys", "create", "nestjs", "--days", "1")
    run("api-keys", "create", "nestjs", exit_code=1)
    run("api-keys", "revoke", made["key_id"])
    run("api-keys", "revoke", "nothing0", exit_code=1)
    with opened(folder) as running:
        assert running.get(f"/api/v1/recs/{FAN}", {"X-API-Key": made["key"]}).status_code == 401
