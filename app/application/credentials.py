"""Credentials we make ourselves: development tokens (HS256) and API keys for services.

An API key reads `rec_<env>_<8-character id>_<43-character secret>_<crc32>`: the prefix lets secret scanners find it,
the checksum refuses a mistyped or invented one without asking the database (the format is GitHub's,
https://github.blog/engineering/behind-githubs-new-authentication-token-formats/). Only the SHA-256 of the secret is
stored: 256 random bits need no slow hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import jwt

from app.domain.audit_scope import describe
from app.domain.entities import ApiKey
from app.domain.exceptions import InputError, NotFoundError
from app.domain.identifiers import as_id, is_id
from app.domain.key_store import ApiKeyStore

SCOPES: tuple[str, ...] = ("recs:read", "recs:train", "recs:admin", "events:write", "catalog:write")
"""Everything a credential can be allowed to do (docs/design.md §5)."""

ENVIRONMENTS = {"production": "prod", "development": "dev", "demo": "demo", "test": "test"}
"""The setting `environment` → the word in the key."""

LISTED_SECONDS = 5.0
LONG_AGO = datetime.min.replace(tzinfo=UTC)
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_KEY = re.compile(r"(rec_(prod|dev|demo|test)_([A-Za-z0-9]{8})_([A-Za-z0-9_-]{43}))_([0-9a-f]{8})", re.ASCII)


def issue_token(
    secret: str,
    *,
    subject: str,
    scopes: Collection[str] = ("recs:read",),
    issuer: str = "encore",
    audience: str = "encore",
    lifetime_seconds: float = 3_600,
    now: datetime,
) -> str:
    """A signed HS256 token. Raises InputError for a subject or a scope that the server would not accept."""
    if as_id(subject) is None:
        raise InputError("the subject is not a valid user id", "sub")
    _refuse_unknown_scopes(scopes)
    issued = int(now.timestamp())
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "iat": issued,
        "exp": issued + int(lifetime_seconds),
        "scope": " ".join(sorted(scopes)),
    }
    return jwt.encode(claims, secret, algorithm="HS256")


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """A well-formed key as it came in. `secret_sha256` is what the store holds."""

    environment: str
    key_id: str
    secret_sha256: str


def parse_key(text: str) -> PresentedKey | None:
    """The parts of a key whose shape and checksum are right; None otherwise. Asks nobody."""
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    body, environment, key_id, secret, checksum = match.groups()
    if not hmac.compare_digest(checksum, _checksum(body)):
        return None
    return PresentedKey(environment, key_id, _digest(secret))


class ApiKeys:
    """Makes, lists, revokes and checks the keys of one environment."""

    def __init__(self, store: ApiKeyStore, environment: str, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._environment = ENVIRONMENTS[environment]
        self._clock = clock
        self._listing = asyncio.Lock()
        self._listed: Mapping[str, ApiKey] = {}
        self._listed_at = LONG_AGO

    async def create(
        self, client: str, scopes: Collection[str], lifetime_days: float | None = None
    ) -> tuple[ApiKey, str]:
        """(what is stored, the key text, which is shown once). ConflictError: the client has two active keys."""
        if not is_id(client):
            raise InputError("the client name is not a valid id", "client")
        _refuse_unknown_scopes(scopes)
        now = self._clock()
        key_id = "".join(secrets.choice(_ALPHABET) for _ in range(8))
        secret = secrets.token_urlsafe(32)
        expires = None if lifetime_days is None else now + timedelta(days=lifetime_days)
        key = ApiKey(key_id, client, _digest(secret), frozenset(scopes), now, expires)
        describe(target=client, after=key_facts(key))
        await self._store.add(key)
        body = f"rec_{self._environment}_{key_id}_{secret}"
        return key, f"{body}_{_checksum(body)}"

    async def list(self) -> Sequence[ApiKey]:
        """All keys, oldest first; never a secret."""
        return await self._store.list()

    async def revoke(self, key_id: str) -> None:
        """End a key; servers notice within a minute. NotFoundError if there is none by that id."""
        key, now = await self._store.get(key_id), self._clock()
        if key is None:
            raise NotFoundError("API key")
        revoked = key if key.revoked_at is not None else replace(key, revoked_at=now)
        describe(before=key_facts(key), after=key_facts(revoked))
        await self._store.revoke(key_id, now)

    async def verify(self, text: str) -> ApiKey | None:
        """The stored key if `text` is it and it is neither revoked nor expired; one database read, none if malformed.

        Raises DatabaseUnavailableError.
        """
        presented = self._ours(text)
        return None if presented is None else self._good(presented, await self._store.get(presented.key_id))

    async def verify_listed(self, text: str) -> ApiKey | None:
        """As `verify`, against all keys as they were at most LISTED_SECONDS ago: however many are tried, one read."""
        presented = self._ours(text)
        if presented is None:
            return None
        async with self._listing:
            if self._clock() - self._listed_at >= timedelta(seconds=LISTED_SECONDS):
                self._listed = {key.key_id: key for key in await self._store.list()}
                self._listed_at = self._clock()
        return self._good(presented, self._listed.get(presented.key_id))

    def _ours(self, text: str) -> PresentedKey | None:
        presented = parse_key(text)
        return None if presented is None or presented.environment != self._environment else presented

    def _good(self, presented: PresentedKey, key: ApiKey | None) -> ApiKey | None:
        known = "" if key is None else key.secret_sha256
        if not hmac.compare_digest(known, presented.secret_sha256) or key is None:
            return None
        return key if is_active(key, self._clock()) else None


def is_active(key: ApiKey, now: datetime) -> bool:
    """True while the key is neither revoked nor expired."""
    return (key.revoked_at is None or key.revoked_at > now) and (key.expires_at is None or key.expires_at > now)


def key_facts(key: ApiKey) -> dict[str, object]:
    """What may be shown of a key."""
    return {
        "key_id": key.key_id,
        "client": key.client,
        "scopes": " ".join(sorted(key.scopes)),
        "created_at": key.created_at.isoformat(timespec="seconds"),
        "expires_at": key.expires_at and key.expires_at.isoformat(timespec="seconds"),
        "revoked_at": key.revoked_at and key.revoked_at.isoformat(timespec="seconds"),
    }


def _refuse_unknown_scopes(scopes: Collection[str]) -> None:
    if not scopes or not set(scopes) <= set(SCOPES):
        raise InputError(f"scopes must be some of {', '.join(SCOPES)}", "scope")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
