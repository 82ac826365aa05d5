"""The committed OpenAPI document, from which clients are generated, is the one the service answers with."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from app.cli import app as command_line
from app.main import create_app, openapi_document
from tests.integration.api.running_service import settings_of

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_committed_document_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(command_line, ["openapi"])
    assert printed.exit_code == 0
    assert COMMITTED.read_text(encoding="utf-8") == printed.stdout, "run: encore openapi > docs/openapi.json"


def test_the_service_answers_with_the_same_document(tmp_path: Path) -> None:
    assert create_app(settings_of(tmp_path)).openapi() == openapi_document() == json.loads(COMMITTED.read_text())
