"""One function decides who may; credentials are believed for a bounded time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.api.jwks import SharedSecret
from app.api.middleware import client_address
from app.api.security import (
    CACHED_SECONDS,
    PUBLIC,
    Authenticator,
    Principal,
    authorise,
    policy_of,
    presented_credentials,
    require_scopes,
    with_policy,
)
from app.api.tokens import TokenPolicy
from app.application.credentials import LISTED_SECONDS, ApiKeys, issue_token
from app.domain.entities import ApiKey
from app.domain.exceptions import AuthenticationError, PermissionDeniedError
from app.domain.key_store import ApiKeyStore
from app.domain.stores import Database
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate

SECRET = "a secret for tests that is long enough"
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
READ = require_scopes("recs:read", owner="user_id")
PERSON = Principal("u1", frozenset({"recs:read"}), is_service=False)
ADMIN = Principal("boss", frozenset({"recs:read", "recs:admin"}), is_service=False)
SERVICE = Principal("nestjs", frozenset({"recs:read"}), is_service=True)
SCOPELESS = Principal("u1", frozenset(), is_service=False)


@pytest.mark.parametrize(
    ("principal", "user_id", "expected"),
    [
        (PERSON, "u1", None),
        (PERSON, "u2", PermissionDeniedError),
        (ADMIN, "u2", None),
        (SERVICE, "u2", None),
        (SCOPELESS, "u1", PermissionDeniedError),
        (None, "u1", AuthenticationError),
    ],
)
def test_people_reach_their_own_lists_only(
    principal: Principal | None, user_id: str, expected: type[Exception] | None
) -> None:
    if expected is None:
        authorise(READ, principal, {"user_id": user_id})
        return
    with pytest.raises(expected):
        authorise(READ, principal, {"user_id": user_id})


def test_public_routes_ask_for_nothing() -> None:
    authorise(PUBLIC, None, {})


def test_a_function_without_a_policy_is_refused() -> None:
    async def naked() -> None:
        """No policy."""

    @with_policy(require_scopes())
    async def empty() -> None:
        """A policy that allows nobody is a mistake."""

    for endpoint in (naked, empty):
        with pytest.raises(TypeError, match="declares no policy"):
            policy_of(endpoint)


def test_an_api_key_header_reads_like_a_bearer() -> None:
    assert presented_credentials([(b"x-api-key", b"rec_x")]) == b"Bearer rec_x"
    assert presented_credentials([(b"authorization", b"Basic eA==")]) == b"Basic eA=="
    assert presented_credentials([(b"cookie", b"token=x")]) is None


class NoStore(ApiKeyStore):
    """Keeps nothing: its keys are well formed, and nobody's."""

    async def add(self, key: ApiKey) -> None:
        """Forgotten."""

    async def get(self, key_id: str) -> ApiKey | None:
        return None

    async def list(self) -> Sequence[ApiKey]:
        return ()

    async def revoke(self, key_id: str, at: datetime) -> bool:
        return False


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/test.db"
    migrate(url)
    database = await open_database(url, pool_size=2, timeout_seconds=5, lease_seconds=60)
    yield database
    await database.close()


def authenticator(database: Database, clock: Callable[[], datetime]) -> tuple[Authenticator, ApiKeys]:
    keys = ApiKeys(database.api_keys, "test", clock)
    policy = TokenPolicy("encore", "encore", leeway=30, max_lifetime=86_400)
    return Authenticator(SharedSecret(SECRET.encode()), policy, keys, clock), keys


HOLDER = replace(PERSON, expires_at=(NOW + timedelta(hours=1, seconds=30)).timestamp())
"""PERSON with a token of an hour, issued now; the policy has a leeway of 30 s."""


async def test_tokens_and_keys_become_principals(database: Database) -> None:
    authentication, keys = authenticator(database, Clock())
    token = issue_token(SECRET, subject="u1", now=NOW)
    assert await authentication.verify(b"Bearer " + token.encode()) == HOLDER
    assert await authentication.verify(b"bEARER " + token.encode()) == HOLDER
    stored, key = await keys.create("nestjs", {"recs:read"})
    assert await authentication.verify(b"Bearer " + key.encode()) == replace(SERVICE, key_id=stored.key_id)


async def test_everything_else_is_refused(database: Database) -> None:
    authentication, _ = authenticator(database, Clock())
    token = issue_token(SECRET, subject="u1", now=NOW).encode()
    for credentials in (b"", b"Bearer", b"Bearer ", b"Basic " + token, token, b"Bearer  " + token, b"Token " + token,
                        b"Bearer rec_test_x", b"Bearer \xff\xfe", b"Bearer " + token + b" x"):  # fmt: skip
        with pytest.raises(AuthenticationError):
            await authentication.verify(credentials)


async def test_what_was_verified_is_remembered_for_a_while_and_never_past_its_end(database: Database) -> None:
    clock = Clock()
    authentication, _ = authenticator(database, clock)
    long = b"Bearer " + issue_token(SECRET, subject="u1", now=NOW).encode()
    short = b"Bearer " + issue_token(SECRET, subject="u1", lifetime_seconds=-25, now=NOW).encode()
    assert authentication.remembered(long) is None
    await authentication.verify(long)
    await authentication.verify(short)
    assert authentication.remembered(long) == HOLDER
    assert authentication.remembered(long + b" ") is None
    clock.now = NOW + timedelta(seconds=6)
    assert authentication.remembered(short) is None
    clock.now = NOW + timedelta(seconds=CACHED_SECONDS + 1)
    assert authentication.remembered(long) is None


async def test_a_revoked_key_is_refused_within_the_minute(database: Database) -> None:
    clock = Clock()
    authentication, keys = authenticator(database, clock)
    stored, text = await keys.create("nestjs", {"recs:read"})
    credentials = b"Bearer " + text.encode()
    await authentication.verify(credentials)
    await keys.revoke(stored.key_id)
    clock.now = NOW + timedelta(seconds=60)
    assert authentication.remembered(credentials) is None
    with pytest.raises(AuthenticationError):
        await authentication.verify(credentials)


async def test_a_guessing_address_costs_one_database_read_and_locks_out_no_owner(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    authentication, keys = authenticator(database, clock)
    _, unused = await keys.create("other", {"recs:read"})
    _, guess = await ApiKeys(NoStore(), "test", clock).create("guesser", {"recs:read"})
    reads: list[str] = []
    get, listing = database.api_keys.get, database.api_keys.list

    async def counted_get(key_id: str) -> ApiKey | None:
        reads.append(key_id)
        return await get(key_id)

    async def counted_listing() -> Sequence[ApiKey]:
        reads.append("all")
        return await listing()

    monkeypatch.setattr(database.api_keys, "get", counted_get)
    monkeypatch.setattr(database.api_keys, "list", counted_listing)
    for _ in range(100):
        with pytest.raises(AuthenticationError):
            await authentication.verify(b"Bearer " + guess.encode(), is_suspect=True)
        owner = await authentication.verify(b"Bearer " + unused.encode(), is_suspect=True)
        assert owner.subject == "other"
    assert reads == ["all"]


async def test_a_key_made_or_revoked_meanwhile_is_noticed_behind_a_guessing_address_too(database: Database) -> None:
    clock = Clock()
    authentication, keys = authenticator(database, clock)
    old, old_text = await keys.create("old", {"recs:read"})
    await authentication.verify(b"Bearer " + old_text.encode(), is_suspect=True)
    await keys.revoke(old.key_id)
    _, new_text = await keys.create("new", {"recs:read"})
    clock.now = NOW + timedelta(seconds=LISTED_SECONDS)
    assert (await authentication.verify(b"Bearer " + new_text.encode(), is_suspect=True)).subject == "new"
    with pytest.raises(AuthenticationError):
        await authentication.verify(b"Bearer " + old_text.encode(), is_suspect=True)


@pytest.mark.parametrize(
    ("peer", "counted_as"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::ffff:a01:204", "10.1.2.4"),
        ("64:ff9b::10.1.2.3", "10.1.2.3"),
        ("::10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("nonsense:", "unknown"),
    ],
)
def test_strangers_are_counted_by_the_address_of_their_subscriber(peer: str, counted_as: str) -> None:
    assert client_address({"client": (peer, 1)}) == counted_as
