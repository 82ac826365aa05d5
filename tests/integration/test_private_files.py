"""What people did lies in files that only their owner reads, whatever the umask is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.domain.entities import User
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from app.infrastructure.files.streams import OutputFile
from app.infrastructure.private_files import make_private_folder
from app.infrastructure.storage import open_artifact_store
from app.infrastructure.storage.file import FileArtifactStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0o000)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_to_others(folder: Path) -> list[str]:
    return [str(path) for path in (folder, *folder.rglob("*")) if mode(path) & 0o077]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("encore.db"))


async def write(url: str, folder: Path) -> list[str]:
    """Write something; what lies in the folder meanwhile, the log and its index included."""
    database = await open_database(url, pool_size=2, timeout_seconds=5, lease_seconds=60)
    try:
        await database.catalog.upsert_users([User("u1", NOW)])
        return names_in(folder)
    finally:
        assert open_to_others(folder) == []
        await database.close()


async def test_the_database_its_log_and_its_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "var"
    url = f"sqlite+aiosqlite:///{folder}/encore.db"
    migrate(url)
    assert await write(url, folder) == ["encore.db", "encore.db-shm", "encore.db-wal"]
    assert mode(folder) == mode(folder.parent) == 0o700
    assert mode(folder / "encore.db") == 0o600


async def test_a_database_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/encore.db"
    migrate(url)
    open_to_everybody(tmp_path)
    await write(url, tmp_path)
    assert mode(tmp_path / "encore.db") == 0o600


def open_to_everybody(folder: Path) -> None:
    """As an older version left them."""
    folder.chmod(0o700)
    (folder / "encore.db").chmod(0o644)
    (folder / "encore.db-wal").touch(0o666)


def test_a_folder_that_is_there_stays_as_its_owner_wants_it(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    make_private_folder(shared / "ours" / "deeper")
    assert mode(shared) == 0o755
    assert open_to_others(shared / "ours") == []


async def test_artifacts_and_local_copies_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "artifacts"
    store = await open_artifact_store(f"file:{folder}")
    await store.put("models/hybrid/1/manifest.json", b"{}")
    await store.close()
    copies = FileArtifactStore(tmp_path / "var" / "copies" / "one", timeout_seconds=5)
    await copies.prepare()
    await copies.put("models/hybrid/1/manifest.json", b"{}")
    await copies.close()
    assert open_to_others(tmp_path / "var") == []


@pytest.mark.parametrize("name", ["export.csv", "export.csv.gz", "export.jsonl"])
def test_exports_are_for_their_owner_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch(0o644)
    file = OutputFile(tmp_path / name)
    file.open().write(b"user_id\n")
    assert mode(file.temporary) == 0o600
    file.keep()
    assert mode(tmp_path / name) == 0o600
