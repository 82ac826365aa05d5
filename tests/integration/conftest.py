"""A world of real servers, made once for the tests that start API processes in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
