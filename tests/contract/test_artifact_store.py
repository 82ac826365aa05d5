"""The suite of the ArtifactStore port, run over every adapter through the production opener."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.domain.exceptions import (
    ArtifactDamagedError,
    ArtifactMissingError,
    ArtifactsUnavailableError,
    ConfigurationError,
    InputError,
    ObjectExistsError,
)
from app.domain.interfaces import ArtifactStore
from app.infrastructure.storage import open_artifact_store

BAD_KEYS = ["", "/x", "x/", "a//b", "../x", "a/../x", ".hidden", "a/.writing/x", "a\\b", "a\0b", "ä", "a b", "x" * 513]


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.real_servers)])
def artifacts_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/artifacts" if request.param == "file" else str(request.getfixturevalue("s3_url"))


@pytest.fixture
async def store(artifacts_url: str) -> AsyncIterator[ArtifactStore]:
    store = await open_artifact_store(artifacts_url)
    yield store
    await store.close()


async def test_what_is_put_is_what_one_gets(store: ArtifactStore) -> None:
    await store.put("models/hybrid/000001-a/model.safetensors", b"\x00\xff" * 1000)

    assert await store.get("models/hybrid/000001-a/model.safetensors", 2000) == b"\x00\xff" * 1000


async def test_an_empty_object_is_an_object(store: ArtifactStore) -> None:
    await store.put("models/empty", b"")

    assert await store.get("models/empty", 0) == b""


async def test_a_key_is_written_once_even_by_the_same_bytes(store: ArtifactStore) -> None:
    await store.put("models/a", b"first")

    for data in (b"first", b"second"):
        with pytest.raises(ObjectExistsError):
            await store.put("models/a", data)

    assert await store.get("models/a", 100) == b"first"


async def test_of_many_writers_of_one_key_exactly_one_wins(store: ArtifactStore) -> None:
    bodies = [bytes([number]) * 10_000 for number in range(16)]

    outcomes = await asyncio.gather(*(store.put("models/raced", body) for body in bodies), return_exceptions=True)

    winners = [body for body, outcome in zip(bodies, outcomes, strict=True) if outcome is None]
    assert len(winners) == 1
    # A busy machine may make a loser run into its deadline before it hears that it has lost.
    losers = [outcome for outcome in outcomes if outcome is not None]
    assert all(isinstance(loser, ObjectExistsError | ArtifactsUnavailableError) for loser in losers), losers
    assert await store.get("models/raced", 10_000) == winners[0]


async def test_a_missing_key_is_named_as_missing(store: ArtifactStore) -> None:
    for key in ("nothing", "models/nothing/here"):
        with pytest.raises(ArtifactMissingError):
            await store.get(key, 100)


async def test_an_object_larger_than_expected_is_refused(store: ArtifactStore) -> None:
    await store.put("models/big", b"x" * 101)

    with pytest.raises(ArtifactDamagedError):
        await store.get("models/big", 100)


async def test_list_gives_the_keys_of_a_prefix_sorted(store: ArtifactStore) -> None:
    for key in ("models/b/2", "models/b/10", "models/a/1", "other/1"):
        await store.put(key, b"x")

    assert list(await store.list("models/")) == ["models/a/1", "models/b/10", "models/b/2"]
    assert list(await store.list("models/b/1")) == ["models/b/10"]
    assert list(await store.list("nothing")) == []


async def test_delete_removes_and_may_be_repeated(store: ArtifactStore) -> None:
    await store.put("models/a/1", b"x")

    await store.delete("models/a/1")
    await store.delete("models/a/1")

    assert list(await store.list("")) == []
    await store.put("models/a/1", b"again")
    assert await store.get("models/a/1", 5) == b"again"


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_keys_that_could_leave_the_store_are_refused(store: ArtifactStore, key: str) -> None:
    for call in (store.put(key, b"x"), store.get(key, 1), store.delete(key)):
        with pytest.raises(InputError):
            await call


async def test_ping_answers(store: ArtifactStore) -> None:
    await store.ping()


async def test_another_process_sees_what_was_written(store: ArtifactStore, artifacts_url: str) -> None:
    await store.put("models/a", b"x")
    other = await open_artifact_store(artifacts_url)

    assert await other.get("models/a", 1) == b"x"
    await other.close()


@pytest.mark.parametrize("url", ["", "ftp://x/y", "file:", "file://host/x", "file:./x?y=1"])
async def test_an_impossible_url_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ENCORE_ARTIFACTS_URL"):
        await open_artifact_store(url)


class TestFileStore:
    """What only a folder can get wrong."""

    @pytest.fixture
    async def folder(self, tmp_path: Path) -> AsyncIterator[tuple[ArtifactStore, Path]]:
        store = await open_artifact_store(f"file://{tmp_path}/artifacts")
        yield store, tmp_path / "artifacts"
        await store.close()

    async def test_a_symbolic_link_is_never_followed(self, folder: tuple[ArtifactStore, Path], tmp_path: Path) -> None:
        store, root = folder
        (tmp_path / "secret").write_bytes(b"secret")
        (tmp_path / "outside").mkdir()
        (root / "file").symlink_to(tmp_path / "secret")
        (root / "folder").symlink_to(tmp_path / "outside")

        with pytest.raises(ArtifactDamagedError):
            await store.get("file", 100)
        with pytest.raises(ArtifactsUnavailableError):
            await store.put("folder/x", b"x")
        assert list((tmp_path / "outside").iterdir()) == []

    async def test_a_fifo_is_refused_at_once(self, folder: tuple[ArtifactStore, Path]) -> None:
        store, root = folder
        os.mkfifo(root / "pipe")

        with pytest.raises(ArtifactDamagedError):
            await asyncio.wait_for(store.get("pipe", 100), 60)

    async def test_what_a_crashed_writer_left_is_invisible_and_swept_later(
        self, folder: tuple[ArtifactStore, Path]
    ) -> None:
        store, root = folder
        old, young = root / ".writing" / "old", root / ".writing" / "young"
        for path in (old, young):
            path.write_bytes(b"half")
        os.utime(old, (time.time() - 7_200, time.time() - 7_200))

        assert list(await store.list("")) == []
        await (await open_artifact_store(f"file://{root}")).close()
        assert not old.exists()
        assert young.exists()

    async def test_a_folder_that_cannot_be_used_is_unavailable(self, folder: tuple[ArtifactStore, Path]) -> None:
        store, root = folder
        (root / ".writing").rmdir()

        with pytest.raises(ArtifactsUnavailableError):
            await store.ping()
        with pytest.raises(ArtifactsUnavailableError):
            await store.put("models/a", b"x")
        assert list(await store.list("models")) == []
