"""Real processes, started by their command line, each test on a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.processes import Home, demo_home

FAST = {"ENCORE_MODEL_POLL_SECONDS": "0.2", "ENCORE_RATE_LIMIT_PER_MINUTE": "100000"}


@pytest.fixture
def empty(tmp_path: Path) -> Home:
    """A folder with a migrated, empty database."""
    home = Home(tmp_path, settings=FAST)
    home.run("migrate")
    return home


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The demo's data and a model trained on it, made once; never served or changed."""
    return demo_home(tmp_path_factory.mktemp("prepared"), **FAST)


@pytest.fixture
def trained(prepared: Home, tmp_path: Path) -> Home:
    """A copy of the prepared folder."""
    return copied(prepared, tmp_path / "trained")


def copied(home: Home, folder: Path) -> Home:
    """The folder with everything in it, and the same secret, at another place."""
    shutil.copytree(home.folder, folder)
    return Home(folder, home.secret, home.settings)
