"""The world as fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.serving.world import World, open_world


@pytest.fixture
async def empty_world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        yield world


@pytest.fixture
async def world(empty_world: World) -> World:
    """Populated, trained and serving."""
    await empty_world.populate()
    await empty_world.train()
    await empty_world.stack.start()
    return empty_world
