"""Artifact stores: `open_artifact_store(url)`; the scheme names the adapter."""

from __future__ import annotations

import hashlib
from pathlib import Path

from app.domain.exceptions import ArtifactsUnavailableError, ConfigurationError
from app.domain.interfaces import ArtifactStore
from app.telemetry import get_logger

_COPY_SECONDS = 10.0


async def open_artifact_store(url: str, copies: Path | None = None) -> ArtifactStore:
    """Open the store of a URL: `file:./var/artifacts`, `file:///srv/artifacts` or `s3://bucket/prefix`.

    `copies` is a folder for local copies of what was read from S3; a folder that cannot be used is done without.
    """
    scheme, _, _rest = url.partition(":")
    match scheme:
        case "file":
            from app.infrastructure.storage.file import open_file_store

            return await open_file_store(url)
        case "s3":
            from app.infrastructure.storage.s3 import open_s3_store

            store = await open_s3_store(url)
            return store if copies is None else await _with_copies(store, url, copies)
        case _:
            raise ConfigurationError("ENCORE_ARTIFACTS_URL", "the scheme must be file: or s3:")


async def _with_copies(store: ArtifactStore, url: str, folder: Path) -> ArtifactStore:
    from app.infrastructure.storage.file import FileArtifactStore
    from app.infrastructure.storage.local_copy import LocalCopy

    # A folder per store: the same key in another bucket is another object.
    place = folder / hashlib.sha256(url.encode()).hexdigest()[:16]
    local = FileArtifactStore(place, timeout_seconds=_COPY_SECONDS)
    try:
        await local.prepare()
    except ArtifactsUnavailableError:
        get_logger(__name__).warning("artifacts.no_local_copies", setting="ENCORE_ARTIFACT_COPIES")
        await local.close()
        return store
    return LocalCopy(store, local)
