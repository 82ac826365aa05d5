"""API keys as stored: hashes, scopes and dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from app.domain.entities import ApiKey
from app.domain.exceptions import ConflictError
from app.domain.key_store import ApiKeyStore
from app.infrastructure.database.connections import Connections
from app.infrastructure.database.tables import api_keys

_ACTIVE_PER_CLIENT = 2  # the one in use and its successor: enough to rotate without a gap


class SqlApiKeyStore(ApiKeyStore):
    """ApiKeyStore on SQL."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, key: ApiKey) -> None:
        lives = api_keys.c.expires_at.is_(None) | (api_keys.c.expires_at > key.created_at)
        active = sa.select(sa.func.count()).where(
            api_keys.c.client == key.client, api_keys.c.revoked_at.is_(None), lives
        )
        async with self._connections.write() as connection:
            await self._connections.dialect.advisory_lock(connection, f"api_keys:{key.client}")
            if (await connection.execute(active)).scalar_one() >= _ACTIVE_PER_CLIENT:
                raise ConflictError("this client has two active keys already: revoke one first")
            await connection.execute(sa.insert(api_keys), {**asdict(key), "scopes": sorted(key.scopes)})

    async def get(self, key_id: str) -> ApiKey | None:
        async with self._connections.low_latency() as connection:
            query = sa.select(api_keys).where(api_keys.c.key_id == key_id)
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _key(row)

    async def list(self) -> Sequence[ApiKey]:
        query = sa.select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id)
        async with self._connections.read() as connection:
            return [_key(row) for row in (await connection.execute(query)).mappings()]

    async def revoke(self, key_id: str, at: datetime) -> bool:
        revoked = sa.func.coalesce(api_keys.c.revoked_at, sa.literal(at, api_keys.c.revoked_at.type))
        update = sa.update(api_keys).where(api_keys.c.key_id == key_id).values(revoked_at=revoked)
        async with self._connections.write() as connection:
            return bool((await connection.execute(update)).rowcount)


def _key(row: RowMapping) -> ApiKey:
    values: dict[str, Any] = dict(row)
    return ApiKey(**{**values, "scopes": frozenset(row["scopes"])})
