"""M3: files far larger than their manifest says are refused by their size; nobody reads them, and nobody waits."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from app.application.artifacts import artifact_format as fmt
from app.application.artifacts.model_artifacts import load_model
from app.domain.exceptions import ArtifactError
from app.infrastructure.storage import open_artifact_store
from app.models import RECOMMENDERS
from benchmarks.damage import write_model
from benchmarks.machine import resident_bytes

BOMB_BYTES = 1 << 30
MAX_GROWTH_BYTES = 64 << 20
MAX_LAG_SECONDS = 0.5
"""The promise is 0.05; a machine that runs other tests meanwhile holds a loop up longer."""


@pytest.mark.parametrize("file", [fmt.MANIFEST, *fmt.FILES.values()])
async def test_a_gigabyte_in_place_of_a_part_costs_neither_memory_nor_time(tmp_path: Path, file: str) -> None:
    store = await open_artifact_store(f"file://{tmp_path}")
    model = await write_model(store, "models/a/1", "popularity")
    path = tmp_path / "models/a/1" / file
    os.truncate(path, BOMB_BYTES)  # holes: no disk is filled
    await asyncio.sleep(0)
    before, most, worst = resident_bytes(os.getpid()), 0, 0.0

    async def watch() -> None:
        nonlocal most, worst
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            worst, most = max(worst, loop.time() - due), max(most, resident_bytes(os.getpid()))

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    with pytest.raises(ArtifactError):
        await load_model(store, model, RECOMMENDERS)
    await asyncio.sleep(0.01)
    watching.cancel()

    assert most - before < MAX_GROWTH_BYTES
    assert worst < MAX_LAG_SECONDS
    await store.close()
