"""Fixtures: a service built once, and applications over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.api.house import House, build, opened_copy


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a model; never served from, only copied."""
    folder = tmp_path_factory.mktemp("built")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def shared(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One application for the tests of a module that leave it as it is."""
    with opened_copy(built, tmp_path_factory.mktemp("shared"), rate_limit_per_minute=1_000_000) as house:
        yield house


@pytest.fixture
def house(built: Path, tmp_path: Path) -> Iterator[House]:
    """An application of one's own."""
    with opened_copy(built, tmp_path) as house:
        yield house
