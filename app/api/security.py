"""Who calls, and what they may do. One function decides; the full route and the fast lane both call it.

Every route declares a Policy (`@guarded`); a route without one cannot be made (app/api/routing.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import TypeVar

from app.api import tokens
from app.api.byte_cache import ByteCache
from app.api.jwks import KeySource
from app.application.credentials import ApiKeys
from app.domain.exceptions import AuthenticationError, PermissionDeniedError, UnavailableError

PRINCIPAL_BYTES = 400
"""A verified credential beside its subject: digest, principal, scopes and when it ends."""

DEFAULT_CACHE_BYTES = 33_554_432

CACHED_SECONDS = 30.0
"""How long one is believed without looking again: bounds the life of a revoked key and of a withdrawn signing key."""

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. A service acts for any user, a person for themselves only (admins excepted).

    `expires_at`: when the credentials end, in Unix seconds.
    """

    subject: str
    scopes: frozenset[str]
    is_service: bool
    key_id: str | None = None
    """The API key, or the key that signed the token."""
    expires_at: float = inf

    @property
    def limit_key(self) -> str:
        """Whose requests are counted together."""
        return ("key:" if self.is_service else "user:") + self.subject

    @property
    def acts_for_anyone(self) -> bool:
        return self.is_service or "recs:admin" in self.scopes


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may use a route: anyone (`public`), or holders of one of `scopes`.

    `owner` names the path parameter that holds the user whose data this is: people reach only their own.
    `for_anyone`: only for callers who may act for any user. `is_bulk`: the larger body cap applies;
    `is_small_for_people`: but only to callers who may act for any user.
    `needs_limiter`: refused while requests cannot be counted.
    """

    scopes: frozenset[str] = frozenset()
    owner: str | None = None
    for_anyone: bool = False
    public: bool = False
    is_bulk: bool = False
    is_small_for_people: bool = False
    needs_limiter: bool = False


PUBLIC = Policy(public=True)


def require_scopes(
    *scopes: str,
    owner: str | None = None,
    for_anyone: bool = False,
    is_bulk: bool = False,
    is_small_for_people: bool = False,
    needs_limiter: bool = False,
) -> Policy:
    """The policy of a closed route: one of these scopes is needed."""
    return Policy(
        frozenset(scopes),
        owner,
        for_anyone,
        is_bulk=is_bulk,
        is_small_for_people=is_small_for_people,
        needs_limiter=needs_limiter,
    )


@dataclass(frozen=True, slots=True)
class RecordedAct:
    """What a route does, for the audit log: the name of the act, and the path parameter that says on what."""

    name: str
    parameter: str | None = None


def with_policy(policy: Policy, act: RecordedAct | None = None) -> Callable[[F], F]:
    """Declare the policy of a route's function, and the act that is put on record when it is called."""

    def declare(endpoint: F) -> F:
        endpoint.policy = policy  # type: ignore[attr-defined]  # functions carry attributes; `policy_of` reads it
        endpoint.act = act  # type: ignore[attr-defined]  # `act_of` reads it
        return endpoint

    return declare


def policy_of(endpoint: Callable[..., object]) -> Policy:
    """The declared policy. Raises TypeError if there is none: the server must not start with such a route."""
    policy = getattr(endpoint, "policy", None)
    if not isinstance(policy, Policy) or not (policy.public or policy.scopes):
        raise TypeError(f"{endpoint.__module__}.{endpoint.__name__} declares no policy: add @guarded(…)")
    return policy


def act_of(endpoint: Callable[..., object]) -> RecordedAct | None:
    """The act that calls of this function are, if they are on record."""
    act: RecordedAct | None = getattr(endpoint, "act", None)
    return act


def authorise(policy: Policy, principal: Principal | None, path_parameters: Mapping[str, str]) -> None:
    """Return if the caller may; raise AuthenticationError or PermissionDeniedError.

    Somebody else's user id is refused before anything is looked up, so that it reads like one nobody has.
    """
    if policy.public:
        return
    if principal is None:
        raise AuthenticationError
    if policy.scopes.isdisjoint(principal.scopes) or (policy.for_anyone and not principal.acts_for_anyone):
        raise PermissionDeniedError
    if policy.owner is not None:
        require_self(principal, path_parameters[policy.owner])


def require_self(principal: Principal, user_id: str) -> None:
    """Raise PermissionDeniedError unless the caller may act for this user."""
    if principal.subject != user_id and not principal.acts_for_anyone:
        raise PermissionDeniedError


class Authenticator:
    """Turns credentials into a principal, and remembers what it has verified (digest → principal, until when)."""

    def __init__(
        self,
        keys: KeySource,
        policy: tokens.TokenPolicy,
        api_keys: ApiKeys,
        clock: Callable[[], datetime],
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self._keys = keys
        self._policy = policy
        self._api_keys = api_keys
        self._clock = clock
        self._verified: ByteCache[bytes, tuple[Principal, float]] = ByteCache(cache_bytes)

    def remembered(self, credentials: bytes) -> Principal | None:
        """The principal if these very bytes were verified a moment ago."""
        found = self._verified.get(hashlib.sha256(credentials).digest())
        if found is None or found[1] < self._clock().timestamp():
            return None
        return found[0]

    async def still_holds(self, credentials: bytes, principal: Principal) -> bool:
        """Whether the credentials of somebody who stays connected are good still; True where nobody can say."""
        if principal.expires_at <= self._clock().timestamp():
            return False
        if self.remembered(credentials) is not None:
            return True
        try:
            return (await self.verify(credentials)).scopes == principal.scopes
        except AuthenticationError:
            return False
        except UnavailableError:
            return True

    async def verify(self, credentials: bytes, is_suspect: bool = False) -> Principal:
        """The principal. Raises AuthenticationError, or UnavailableError where nobody can say.

        The keys of a suspect (an address that guesses) are compared with a listing that is read every few seconds:
        a guess costs no database read, and does not lock out the owner of a good key behind the same address.
        """
        scheme, _, value = credentials.partition(b" ")
        if scheme.lower() != b"bearer":
            raise AuthenticationError
        if value.startswith(b"rec_"):
            principal, until = await self._service(value, is_suspect)
        else:
            principal, until = await self._person(value)
        self._remember(credentials, principal, until)
        return principal

    async def _person(self, token: bytes) -> tuple[Principal, float]:
        unverified = tokens.parse_unverified(token)
        key = await self._keys.find(unverified.key_id)
        claims = tokens.verify(unverified, key, self._policy, self._clock().timestamp())
        principal = Principal(
            claims.subject,
            claims.scopes,
            is_service=False,
            key_id=unverified.key_id,
            expires_at=claims.expires_at,
        )
        return principal, claims.expires_at

    async def _service(self, text: bytes, is_suspect: bool) -> tuple[Principal, float]:
        find = self._api_keys.verify_listed if is_suspect else self._api_keys.verify
        key = await find(text.decode("latin-1"))
        if key is None:
            raise AuthenticationError
        until = inf if key.expires_at is None else key.expires_at.timestamp()
        return Principal(key.client, key.scopes, is_service=True, key_id=key.key_id, expires_at=until), until

    def _remember(self, credentials: bytes, principal: Principal, until: float) -> None:
        limit = self._clock().timestamp() + CACHED_SECONDS
        entry = principal, min(until, limit)
        self._verified.put(hashlib.sha256(credentials).digest(), entry, PRINCIPAL_BYTES + len(principal.subject))


def presented_credentials(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """What the caller presents: `Authorization` as it is, or an `X-API-Key` as if it were a bearer's."""
    for name, value in headers:
        if name == b"authorization":
            return value
        if name == b"x-api-key":
            return b"Bearer " + value
    return None
