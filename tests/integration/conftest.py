"""A world of real servers, made once for the tests that start API processes in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.infrastructure.database.migrate import migrate
from tests.integration.import_home import Home, url
from tests.servers.plugin import missing
from tests.servers.process import ServerMissingError
from tests.servers.world import World, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Servers of our own, with the demo's data and a model trained on it. Who breaks something mends it."""
    try:
        made = make_world(tmp_path_factory.mktemp("world"))
    except ServerMissingError as exc:
        missing(exc)
        raise
    yield made
    made.stop()


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    migrate(url(folder))
    return folder / "encore.db"


@pytest.fixture
def home(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in [name for name in os.environ if name.startswith("ENCORE_")]:
        monkeypatch.delenv(name)
    shutil.copy(empty, tmp_path / "encore.db")
    monkeypatch.setenv("ENCORE_ENVIRONMENT", "test")
    monkeypatch.setenv("ENCORE_DATABASE_URL", url(tmp_path))
    return Home(tmp_path)
