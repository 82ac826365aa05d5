"""Fixtures: a service built once, and applications over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.api.fast_lane import FastLane
from tests.integration.api.running_service import RunningService, build, opened_copy


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a model; never served from, only copied."""
    folder = tmp_path_factory.mktemp("built")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def shared(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One application for the tests of a module that leave it as it is."""
    with opened_copy(built, tmp_path_factory.mktemp("shared"), rate_limit_per_minute=1_000_000) as running:
        yield running


@pytest.fixture(params=["lane", "route"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to a user's list: the fast lane, and the full route with the lane closed."""
    if request.param == "route":
        monkeypatch.setattr(FastLane, "answered", never)
    return str(request.param)


async def never(*_: object) -> bool:
    """Leaves everything to the route."""
    return False


@pytest.fixture
def running(built: Path, tmp_path: Path) -> Iterator[RunningService]:
    """An application of one's own."""
    with opened_copy(built, tmp_path) as running:
        yield running
