"""One suite for every database: keys as stored, two active ones per client."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.entities import ApiKey
from app.domain.exceptions import ConflictError
from app.domain.stores import Database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def key(key_id: str, client: str = "web", *, minutes: int = 0, expires: int | None = None) -> ApiKey:
    expires_at = None if expires is None else NOON + timedelta(minutes=expires)
    scopes = frozenset({"recs:read", "events:write"})
    return ApiKey(key_id, client, "a" * 64, scopes, NOON + timedelta(minutes=minutes), expires_at)


async def test_a_key_comes_back_as_it_went_in(database: Database) -> None:
    await database.api_keys.add(key("k1", expires=60))

    assert await database.api_keys.get("k1") == key("k1", expires=60)
    assert await database.api_keys.get("k2") is None


async def test_a_client_has_at_most_two_active_keys(database: Database) -> None:
    await database.api_keys.add(key("k1"))
    await database.api_keys.add(key("k2"))

    with pytest.raises(ConflictError):
        await database.api_keys.add(key("k3"))
    await database.api_keys.add(key("k4", "mobile"))


async def test_revoked_and_expired_keys_make_room_and_stay_known(database: Database) -> None:
    await database.api_keys.add(key("k1"))
    await database.api_keys.add(key("k2", expires=5))
    assert await database.api_keys.revoke("k1", NOON) is True
    assert await database.api_keys.revoke("k9", NOON) is False
    await database.api_keys.add(key("k3", minutes=6))
    await database.api_keys.add(key("k4", minutes=7))

    assert [one.key_id for one in await database.api_keys.list()] == ["k1", "k2", "k3", "k4"]
    assert await database.api_keys.get("k1") == replace(key("k1"), revoked_at=NOON)


async def test_revoking_again_keeps_the_first_date(database: Database) -> None:
    await database.api_keys.add(key("k1"))
    await database.api_keys.revoke("k1", NOON)

    assert await database.api_keys.revoke("k1", NOON + timedelta(days=1)) is True
    revoked = await database.api_keys.get("k1")
    assert revoked is not None
    assert revoked.revoked_at == NOON
