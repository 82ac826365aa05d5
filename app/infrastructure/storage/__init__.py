"""Artifact stores: `open_artifact_store(url)`; the scheme names the adapter."""

from __future__ import annotations

from app.domain.exceptions import ConfigurationError
from app.domain.interfaces import ArtifactStore


async def open_artifact_store(url: str) -> ArtifactStore:
    """Open the store of a URL: `file:./var/artifacts`, `file:///srv/artifacts` or `s3://bucket/prefix`."""
    scheme, _, _rest = url.partition(":")
    match scheme:
        case "file":
            from app.infrastructure.storage.file import open_file_store

            return await open_file_store(url)
        case "s3":
            from app.infrastructure.storage.s3 import open_s3_store

            return await open_s3_store(url)
        case _:
            raise ConfigurationError("ENCORE_ARTIFACTS_URL", "the scheme must be file: or s3:")
