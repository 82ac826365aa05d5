"""JSON Web Tokens: what makes one acceptable (RFC 7519, RFC 8725; docs/reliability.md, J1–J30).

PyJWT checks the signature. Everything the library leaves open is decided here: one algorithm per key, the types of
times, a maximum lifetime, who may be a subject, duplicate members, size, and what the token was issued for.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

import jwt
from jwt.algorithms import AllowedPublicKeys

from app.api.strict_json import parse_json
from app.application.credentials import SCOPES
from app.domain.exceptions import AuthenticationError, InputError
from app.domain.identifiers import as_id

MAX_TOKEN_BYTES = 8_192
TOKEN_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""The `typ` header of access tokens: RFC 9068 §2.1 and the plain form."""

DEFAULT_SCOPES = frozenset({"recs:read"})
"""Of a token without a `scope` member: whoever has signed in may read their own list."""

_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_KEY_ID = re.compile(r"[A-Za-z0-9._:=-]{1,128}", re.ASCII)
_SIGNATURES = jwt.PyJWS(algorithms=["HS256", "RS256", "ES256"])


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key and the one algorithm it may be used with."""

    algorithm: str
    key: AllowedPublicKeys | bytes


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """What a token must say to be for us. Times in seconds."""

    issuer: str
    audience: str
    leeway: float
    max_lifetime: float


@dataclass(frozen=True, slots=True)
class Claims:
    """What we take from an accepted token. `expires_at`: Unix seconds, leeway included."""

    subject: str
    scopes: frozenset[str]
    issued_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A token taken apart: nothing in it may be believed yet except what selects the key."""

    key_id: str | None
    algorithm: str
    payload: Mapping[str, object]
    text: bytes


def parse_unverified(token: bytes) -> UnverifiedToken:
    """Split and parse. Raises AuthenticationError for everything that is not a plain signed JWT of ours."""
    match = _COMPACT.fullmatch(token) if len(token) <= MAX_TOKEN_BYTES else None
    if match is None:
        raise AuthenticationError
    header, payload = _json_object(match[1]), _json_object(match[2])
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or not isinstance(kind, str) or kind.lower() not in TOKEN_TYPES:
        raise AuthenticationError
    if "crit" in header or "b64" in header:  # extensions we do not know must be refused (RFC 7515 §4.1.11)
        raise AuthenticationError
    if key_id is not None and not (isinstance(key_id, str) and _KEY_ID.fullmatch(key_id)):
        raise AuthenticationError
    return UnverifiedToken(key_id, algorithm, payload, token)


def verify(token: UnverifiedToken, key: VerificationKey | None, policy: TokenPolicy, now: float) -> Claims:
    """The claims of a token signed with `key` and acceptable now (Unix seconds). Raises AuthenticationError."""
    if key is None or token.algorithm != key.algorithm:
        raise AuthenticationError
    try:
        _SIGNATURES.decode(token.text, key.key, algorithms=[key.algorithm])
    except jwt.PyJWTError:
        raise AuthenticationError from None  # the original may quote the token
    return check_claims(token.payload, policy, now)


def check_claims(payload: Mapping[str, object], policy: TokenPolicy, now: float) -> Claims:
    """The decision on the payload alone. Raises AuthenticationError; one wording for every reason."""
    issued, expires = _time(payload.get("iat")), _time(payload.get("exp"))
    not_before = _time(payload["nbf"]) if "nbf" in payload else issued
    subject = payload.get("sub")
    is_current = int(now) - expires <= policy.leeway and max(issued, not_before) <= now + policy.leeway
    is_short = expires - issued <= policy.max_lifetime
    is_ours = payload.get("iss") == policy.issuer and _is_for(payload.get("aud"), policy.audience)
    is_access = payload.get("token_use", "access") == "access" and payload.get("typ", "Bearer") in ("Bearer", "JWT")
    if not (is_current and is_short and is_ours and is_access):
        raise AuthenticationError
    user_id = as_id(subject) if isinstance(subject, str) else None
    if user_id is None:
        raise AuthenticationError
    return Claims(user_id, _scopes(payload), issued, expires + policy.leeway)


def _time(value: object) -> float:
    """A NumericDate. A bool is an int in Python and a text compares with nothing: neither is a time."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise AuthenticationError
    return float(value)


def _is_for(audience: object, ours: str) -> bool:
    if isinstance(audience, list):
        return all(isinstance(entry, str) for entry in audience) and ours in audience
    return audience == ours


def _scopes(payload: Mapping[str, object]) -> frozenset[str]:
    """RFC 8693 §4.2: one text, separated by spaces. Anything else, and every word we do not know, grants nothing."""
    if "scope" not in payload:
        return DEFAULT_SCOPES
    scope = payload["scope"]
    return frozenset(scope.split(" ")) & frozenset(SCOPES) if isinstance(scope, str) else frozenset()


def _json_object(segment: bytes) -> Mapping[str, object]:
    try:
        value = parse_json(base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4)))
    except (InputError, binascii.Error):
        raise AuthenticationError from None
    if not isinstance(value, dict):
        raise AuthenticationError
    return value
