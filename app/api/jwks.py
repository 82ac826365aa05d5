"""Where verification keys come from: one HS256 secret, or a key set (RFC 7517) in a file or at a URL.

The token never chooses: it names a key id, and only keys already fetched from our own setting are looked at. A key set
that cannot be had, or has no key for us, leaves the last good one in force for a day. It is fetched when the process
starts, and again within seconds while that fails; unknown key ids cause at most one fetch a minute.
"""

from __future__ import annotations

import asyncio
import http.client
import math
import ssl
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

import jwt

from app import telemetry
from app.api.strict_json import parse_json
from app.api.tokens import VerificationKey
from app.domain.addresses import is_safe_address
from app.domain.exceptions import ConfigurationError, InputError, UnavailableError

MAX_BYTES = 262_144
MAX_KEYS = 100
FETCH_SECONDS = 3.0
REFRESH_SECONDS = 240.0
"""How often the set is read again; a withdrawn key is refused within five minutes."""
MIN_INTERVAL_SECONDS = 60.0
RETRY_SECONDS, MAX_RETRY_SECONDS = 1.0, 5.0
"""After a fetch that failed: soon, so that people are let in soon after the identity provider is back."""

KEEP_SECONDS = 86_400.0
MIN_RSA_BITS = 2_048
ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}

log = telemetry.get_logger(__name__)


class KeySource(Protocol):
    """Finds the verification key of a token."""

    @abstractmethod
    async def find(self, key_id: str | None) -> VerificationKey | None:
        """The key by that id, or None. Raises UnavailableError while no key has ever been had."""

    @abstractmethod
    async def follow(self) -> None:
        """Keep the keys current until cancelled."""


class SharedSecret(KeySource):
    """One HS256 secret for every token; key ids mean nothing."""

    def __init__(self, secret: bytes) -> None:
        self._key = VerificationKey("HS256", secret)

    async def find(self, key_id: str | None) -> VerificationKey | None:
        return self._key

    async def follow(self) -> None:
        await asyncio.Event().wait()


class KeySet(KeySource):
    """A key set that `fetch` (blocking, bounded in time and size) returns as bytes."""

    def __init__(self, fetch: Callable[[], bytes], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._keys: Mapping[str, VerificationKey] = {}
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._retry_seconds: float | None = None
        self._refreshing = asyncio.Lock()

    async def find(self, key_id: str | None) -> VerificationKey | None:
        if key_id is None:
            return None
        if key_id not in self._keys:
            await self.refresh(MIN_INTERVAL_SECONDS)
        if self._monotonic() - self._fetched_at > KEEP_SECONDS:
            raise UnavailableError("no verification keys could be had")
        return self._keys.get(key_id)

    async def follow(self) -> None:
        while True:
            await self.refresh(MIN_INTERVAL_SECONDS)
            await asyncio.sleep(self._retry_seconds or REFRESH_SECONDS)

    async def refresh(self, min_interval: float) -> None:
        """Fetch again unless that was tried less than `min_interval` seconds ago; one fetch at a time.

        After a fetch that failed the pause is shorter: RETRY_SECONDS, twice as long each time.
        """
        async with self._refreshing:
            pause = min_interval if self._retry_seconds is None else min(min_interval, self._retry_seconds)
            if self._monotonic() - self._tried_at < pause:
                return
            self._tried_at = self._monotonic()
            try:
                keys = read_keys(await asyncio.to_thread(self._fetch))
            except (OSError, InputError, http.client.HTTPException) as error:
                # Safe to go on: the last good keys stay in force, and this is counted.
                telemetry.BACKGROUND_FAILURES.labels("jwks").inc()
                log.warning("key_set_unreadable", error=type(error).__name__)
                self._retry_seconds = min(2 * (self._retry_seconds or RETRY_SECONDS / 2), MAX_RETRY_SECONDS)
                return
            self._keys, self._fetched_at, self._retry_seconds = keys, self._monotonic(), None


def read_keys(document: bytes) -> Mapping[str, VerificationKey]:
    """The usable signature keys of a key set, by id; others are skipped.

    Raises InputError if it is no key set, or if no key in it is for us: a set that lets nobody in is a mistake at its
    source, and must not take the place of one that does.
    """
    value = parse_json(document)
    entries = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise InputError("not a key set")
    found = {}
    for entry in entries:
        key = _usable(entry) if isinstance(entry, dict) else None
        if key is not None:
            found[str(entry["kid"])] = key
    if not found:
        raise InputError("no usable key in the set")
    return found


def _usable(entry: Mapping[str, object]) -> VerificationKey | None:
    algorithm = ALGORITHMS.get(str(entry.get("kty")))
    is_for_signatures = entry.get("use", "sig") == "sig" and entry.get("alg", algorithm) == algorithm
    if algorithm is None or not is_for_signatures or not isinstance(entry.get("kid"), str) or "d" in entry:
        return None
    if algorithm == "ES256" and entry.get("crv") != "P-256":
        return None
    try:
        key = jwt.PyJWK(dict(entry), algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return None if algorithm == "RS256" and key.key_size < MIN_RSA_BITS else VerificationKey(algorithm, key)


class _NoRedirects(HTTPRedirectHandler):
    """A redirect could lead anywhere inside our network: it is an error instead."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def fetch_url(url: str, trusted: ssl.SSLContext | None = None) -> bytes:
    """The document at a URL of ours: https (http to this machine only), no redirects, bounded in size and time.

    `trusted`: which authorities to believe, in place of the system's.
    """
    request = Request(url, headers={"Accept": "application/json"})  # noqa: S310  # `open_keys` checked the scheme
    deadline = time.monotonic() + FETCH_SECONDS
    received = bytearray()
    with build_opener(_NoRedirects, HTTPSHandler(context=trusted)).open(request, timeout=FETCH_SECONDS) as response:
        while chunk := response.read1(65_536):
            received += chunk
            if len(received) > MAX_BYTES or time.monotonic() > deadline:
                raise URLError("the key set is too large or too slow")
    return bytes(received)


def fetch_file(path: Path) -> bytes:
    """The document in a file of ours."""
    with path.open("rb") as file:
        received = file.read(MAX_BYTES + 1)
    if len(received) > MAX_BYTES:
        raise OSError("the key set is too large")
    return received


def open_keys(
    secret: str | None, jwks_url: str | None, jwks_file: Path | None, ca_file: Path | None = None
) -> KeySource:
    """The one source that is set. Raises ConfigurationError unless it is exactly one: one issuer, one kind of key."""
    given = [source for source in (secret, jwks_url, jwks_file) if source is not None]
    if len(given) != 1:
        raise ConfigurationError(
            "ENCORE_JWT_SECRET", "set exactly one of it, ENCORE_JWT_JWKS_URL, ENCORE_JWT_JWKS_FILE"
        )
    if secret is not None:
        return SharedSecret(secret.encode())
    if jwks_file is not None:
        return KeySet(lambda: fetch_file(jwks_file))
    if not is_safe_address(str(jwks_url)):
        raise ConfigurationError("ENCORE_JWT_JWKS_URL", "must be an https address")
    trusted = None if ca_file is None else _trusting(ca_file)
    return KeySet(lambda: fetch_url(str(jwks_url), trusted))


def _trusting(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except OSError:  # ssl.SSLError is one
        raise ConfigurationError("ENCORE_JWT_JWKS_CA_FILE", "is no file with certificates in PEM") from None
