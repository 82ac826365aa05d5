"""API keys and tokens that we make ourselves (J31)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from app.application.credentials import ApiKeys, issue_token, parse_key
from app.domain.entities import ApiKey
from app.domain.exceptions import InputError, NotFoundError
from app.domain.key_store import ApiKeyStore

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
SECRET = "k3y-for-tests-only-" * 3


class ListedKeys(ApiKeyStore):
    """A store in a dictionary that counts how often it is asked: the point is when it is not."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.reads = 0

    async def add(self, key: ApiKey) -> None:
        self.keys[key.key_id] = key

    async def get(self, key_id: str) -> ApiKey | None:
        self.reads += 1
        return self.keys.get(key_id)

    async def list(self) -> Sequence[ApiKey]:
        return list(self.keys.values())

    async def revoke(self, key_id: str, at: datetime) -> bool:
        known = self.keys.get(key_id)
        if known is None:
            return False
        self.keys[key_id] = ApiKey(
            known.key_id, known.client, known.secret_sha256, known.scopes, known.created_at, known.expires_at, at
        )
        return True


async def test_a_key_is_accepted_as_it_was_shown_and_its_secret_is_not_kept() -> None:
    store = ListedKeys()
    keys = ApiKeys(store, "test", lambda: NOW)
    stored, text = await keys.create("nestjs", {"events:write"})
    assert text.startswith(f"rec_test_{stored.key_id}_")
    assert await keys.verify(text) == stored
    assert text.split("_", 3)[3][:43] not in repr(stored)


async def test_a_key_with_any_character_changed_is_refused_without_asking_the_store() -> None:
    store = ListedKeys()
    keys = ApiKeys(store, "test", lambda: NOW)
    _, text = await keys.create("nestjs", {"events:write"})
    for position in range(len(text)):
        other = "A" if text[position] != "A" else "B"
        assert await keys.verify(text[:position] + other + text[position + 1 :]) is None
    for broken in (text[:-1], text + "0", text + "\n", " " + text, "", "rec_", text.upper()):
        assert await keys.verify(broken) is None
    assert store.reads == 0


async def test_a_well_formed_key_with_another_secret_is_refused() -> None:
    store = ListedKeys()
    keys = ApiKeys(store, "test", lambda: NOW)
    stored, _ = await keys.create("a", {"recs:read"})
    other, text = await keys.create("b", {"recs:read"})
    store.keys[stored.key_id] = other
    store.keys[other.key_id] = stored
    assert await keys.verify(text) is None


async def test_revoked_expired_and_foreign_keys_are_refused() -> None:
    store = ListedKeys()
    now = [NOW]
    keys = ApiKeys(store, "test", lambda: now[0])
    revoked, revoked_text = await keys.create("a", {"recs:read"})
    _, short_text = await keys.create("b", {"recs:read"}, lifetime_days=1)
    assert await keys.verify(short_text) is not None
    await keys.revoke(revoked.key_id)
    assert await keys.verify(revoked_text) is None
    now[0] += timedelta(days=1)
    assert await keys.verify(short_text) is None
    _, text = await keys.create("c", {"recs:read"})
    assert await ApiKeys(store, "production", lambda: now[0]).verify(text) is None
    with pytest.raises(NotFoundError):
        await keys.revoke("nobody")


async def test_unknown_scopes_and_odd_client_names_are_refused() -> None:
    keys = ApiKeys(ListedKeys(), "test", lambda: NOW)
    for client, scopes in (("a\tb", {"recs:read"}), ("a", {"recs:everything"}), ("a", set())):
        with pytest.raises(InputError):
            await keys.create(client, scopes)


def test_the_checksum_is_looked_at_before_anything_else() -> None:
    assert parse_key("rec_test_abcdefgh_" + "s" * 43 + "_00000000") is None


def test_a_token_says_who_for_whom_and_how_long() -> None:
    token = issue_token(SECRET, subject="u1", scopes={"recs:read", "recs:admin"}, lifetime_seconds=60, now=NOW)
    claims = jwt.decode(
        token, SECRET, algorithms=["HS256"], audience="encore", options={"verify_exp": False, "verify_iat": False}
    )
    assert claims == {
        "iss": "encore",
        "aud": "encore",
        "sub": "u1",
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 60,
        "scope": "recs:admin recs:read",
    }


def test_tokens_the_server_would_refuse_are_not_made() -> None:
    with pytest.raises(InputError):
        issue_token(SECRET, subject="a\nb", now=NOW)
    with pytest.raises(InputError):
        issue_token(SECRET, subject="u1", scopes={"root"}, now=NOW)
