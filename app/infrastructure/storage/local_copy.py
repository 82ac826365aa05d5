"""Last good copies on local disk of what was read from a store far away.

Objects are immutable, so a copy whose checksum is right is as good as the original: a process starts with the model it
served before although the store is down, and a restart does not fetch it again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from app import telemetry
from app.domain.exceptions import ArtifactError, ArtifactsUnavailableError, ObjectExistsError
from app.domain.interfaces import ArtifactStore
from app.infrastructure.uninterrupted import uninterrupted

DIGEST_BYTES = 32
KEPT_FOLDERS = 3
"""The version being served, the one before it, and one that is being loaded."""


class LocalCopy(ArtifactStore):
    """`remote` is the truth; `local` (the `file:` adapter) may be lost, full, damaged or unusable at any time.

    A copy is the SHA-256 of the object followed by its bytes. Writing a copy is best effort: what fails is counted.
    """

    def __init__(self, remote: ArtifactStore, local: ArtifactStore) -> None:
        self._remote = remote
        self._local = local
        self._recent: dict[str, None] = {}

    async def put(self, key: str, data: bytes) -> None:
        await self._remote.put(key, data)

    async def get(self, key: str, max_bytes: int) -> bytes:
        data = await self._copy_of(key, max_bytes)
        if data is None:
            data = await self._remote.get(key, max_bytes)
            await self._keep(key, data)
        self._use(_folder(key))
        return data

    async def list(self, prefix: str) -> Sequence[str]:
        return await self._remote.list(prefix)

    async def delete(self, key: str) -> None:
        await self._remote.delete(key)
        await self._forget(key)

    async def ping(self) -> None:
        await self._remote.ping()

    async def close(self) -> None:
        await uninterrupted(self._close())

    async def _close(self) -> None:
        await self._remote.close()
        await self._local.close()

    async def _copy_of(self, key: str, max_bytes: int) -> bytes | None:
        """The copy, or None if there is none that can be trusted."""
        try:
            copy = await self._local.get(key, max_bytes + DIGEST_BYTES)
        except (ArtifactError, ArtifactsUnavailableError):
            return None
        data = await asyncio.to_thread(_opened, copy)
        if data is not None:
            telemetry.ARTIFACT_COPIES.labels("used").inc()
            return data
        telemetry.ARTIFACT_COPIES.labels("damaged").inc()
        await self._forget(key)
        return None

    async def _keep(self, key: str, data: bytes) -> None:
        try:
            await self._local.put(key, await asyncio.to_thread(_sealed, data))
            await self._make_room()
        except ObjectExistsError:
            pass  # another process of this machine kept it at the same moment
        except (ArtifactError, ArtifactsUnavailableError):
            telemetry.ARTIFACT_COPIES.labels("failed").inc()  # the object itself is in hand: serving goes on

    async def _forget(self, key: str) -> None:
        try:
            await self._local.delete(key)
        except ArtifactsUnavailableError:
            telemetry.ARTIFACT_COPIES.labels("failed").inc()  # a copy is never trusted without its checksum

    async def _make_room(self) -> None:
        """Keep the folders (one per model version) used last; those of earlier processes go first, by name."""
        keys = await self._local.list("")
        folders = sorted({_folder(key) for key in keys} - self._recent.keys()) + list(self._recent)
        doomed = set(folders[:-KEPT_FOLDERS])
        for key in keys:
            if _folder(key) in doomed:
                await self._forget(key)

    def _use(self, folder: str) -> None:
        self._recent.pop(folder, None)
        self._recent[folder] = None
        while len(self._recent) > KEPT_FOLDERS:
            del self._recent[next(iter(self._recent))]


def _sealed(data: bytes) -> bytes:
    return hashlib.sha256(data).digest() + data


def _opened(copy: bytes) -> bytes | None:
    digest, data = copy[:DIGEST_BYTES], copy[DIGEST_BYTES:]
    return data if hashlib.sha256(data).digest() == digest else None


def _folder(key: str) -> str:
    return key.rpartition("/")[0]
