"""The world as fixtures: populated and trained once, copied for each test."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.serving.world import World, open_world


@pytest.fixture(scope="session")
def populated_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with items and interactions."""
    folder = tmp_path_factory.mktemp("populated")

    async def populate() -> None:
        async with open_world(folder) as world:
            await world.populate()

    asyncio.run(populate())
    return folder


@pytest.fixture(scope="session")
def trained_folder(populated_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """… and a champion."""
    folder = tmp_path_factory.mktemp("trained") / "world"
    shutil.copytree(populated_folder, folder)

    async def train() -> None:
        async with open_world(folder) as world:
            await world.train()

    asyncio.run(train())
    return folder


@pytest.fixture
async def empty_world(tmp_path: Path) -> AsyncIterator[World]:
    """Nothing but tables."""
    async with open_world(tmp_path) as world:
        yield world


@pytest.fixture
async def untrained_world(populated_folder: Path, tmp_path: Path) -> AsyncIterator[World]:
    """Items and interactions, started."""
    folder = Path(shutil.copytree(populated_folder, tmp_path / "world"))
    async with open_world(folder) as world:
        await world.stack.start()
        yield world


@pytest.fixture
async def world(trained_folder: Path, tmp_path: Path) -> AsyncIterator[World]:
    """Populated, trained and serving."""
    folder = Path(shutil.copytree(trained_folder, tmp_path / "world"))
    async with open_world(folder) as world:
        world.numbers = iter(range(2, 10_000))
        await world.stack.start()
        yield world
