"""Local copies of artifacts: trusted only with their checksum, and never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.exceptions import ArtifactDamagedError, ArtifactMissingError, ArtifactsUnavailableError
from app.domain.interfaces import ArtifactStore
from app.infrastructure.storage import open_artifact_store
from app.infrastructure.storage.file import FileArtifactStore
from app.infrastructure.storage.local_copy import KEPT_FOLDERS, LocalCopy

KEY = "models/hybrid/000001-a/model.safetensors"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "remote", tmp_path / "copies"


async def opened(folder: Path) -> ArtifactStore:
    store = FileArtifactStore(folder, timeout_seconds=5)
    await store.prepare()
    return store


async def both(folders: tuple[Path, Path]) -> LocalCopy:
    remote, copies = folders
    return LocalCopy(await opened(remote), await opened(copies))


async def test_what_was_read_once_is_there_although_the_store_lost_it(folders: tuple[Path, Path]) -> None:
    store = await both(folders)
    await store.put(KEY, b"model")
    assert await store.get(KEY, 100) == b"model"
    (folders[0] / KEY).unlink()

    assert await store.get(KEY, 100) == b"model"
    await store.close()
    again = await both(folders)
    assert await again.get(KEY, 100) == b"model"
    await again.close()


async def test_what_was_never_read_is_missing(folders: tuple[Path, Path]) -> None:
    store = await both(folders)

    with pytest.raises(ArtifactMissingError):
        await store.get(KEY, 100)
    await store.close()


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "half a digest"])
async def test_a_damaged_copy_is_fetched_again(folders: tuple[Path, Path], damage: str) -> None:
    store = await both(folders)
    await store.put(KEY, b"model")
    await store.get(KEY, 100)
    copy = folders[1] / KEY
    whole = copy.read_bytes()
    copy.write_bytes({"flip": whole[:-1] + b"\0", "cut": whole[:-1], "empty": b"", "half a digest": whole[:16]}[damage])

    assert await store.get(KEY, 100) == b"model"
    assert copy.read_bytes() == whole
    await store.close()


async def test_the_size_bound_holds_for_copies_too(folders: tuple[Path, Path]) -> None:
    store = await both(folders)
    await store.put(KEY, b"model")
    await store.get(KEY, 5)

    with pytest.raises(ArtifactDamagedError):
        await store.get(KEY, 4)
    await store.close()


async def test_deleting_removes_the_copy(folders: tuple[Path, Path]) -> None:
    store = await both(folders)
    await store.put(KEY, b"model")
    await store.get(KEY, 100)

    await store.delete(KEY)

    with pytest.raises(ArtifactMissingError):
        await store.get(KEY, 100)
    await store.close()


async def test_a_disk_that_takes_nothing_does_not_stop_serving(folders: tuple[Path, Path]) -> None:
    store = await both(folders)
    await store.put(KEY, b"model")
    (folders[1] / ".writing").rmdir()

    assert await store.get(KEY, 100) == b"model"
    await store.close()


async def test_only_the_versions_used_last_are_kept(folders: tuple[Path, Path]) -> None:
    store = await both(folders)
    keys = [f"models/hybrid/{number:06}-a/{part}" for number in range(6) for part in ("manifest.json", "model")]
    for key in keys:
        await store.put(key, b"x")
    await store.get(keys[0], 10)
    for key in keys:
        await store.get(keys[0], 10)
        await store.get(key, 10)

    kept = {path.parent.name for path in folders[1].rglob("*") if path.is_file()}
    assert len(kept) == KEPT_FOLDERS
    assert {"000000-a", "000005-a"} <= kept
    await store.close()


async def test_a_store_that_is_down_is_only_missed_for_what_was_never_read(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    before = await both(folders)
    await before.put(KEY, b"model")
    await before.get(KEY, 100)
    await before.close()
    down = await open_artifact_store("s3://bucket/p?endpoint=http://127.0.0.1:9&region=eu-west-1")
    store = LocalCopy(down, await opened(folders[1]))

    assert await store.get(KEY, 100) == b"model"
    with pytest.raises(ArtifactsUnavailableError):
        await store.get("models/other", 100)
    await store.close()


async def test_a_folder_that_cannot_be_made_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    (tmp_path / "file").write_text("not a folder")

    store = await open_artifact_store("s3://bucket?endpoint=http://127.0.0.1:9", tmp_path / "file")

    assert not isinstance(store, LocalCopy)
    await store.close()
