"""The database port of service credentials. Contract in words, as in stores.py."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from app.domain.entities import ApiKey


class ApiKeyStore(Protocol):
    """Hashed service credentials."""

    @abstractmethod
    async def add(self, key: ApiKey) -> None:
        """Store a key. Raises ConflictError when the client has two active ones already."""

    @abstractmethod
    async def get(self, key_id: str) -> ApiKey | None:
        """The key, revoked and expired ones included, or None."""

    @abstractmethod
    async def list(self) -> Sequence[ApiKey]:
        """All keys, oldest first."""

    @abstractmethod
    async def revoke(self, key_id: str, at: datetime) -> bool:
        """False if unknown."""
