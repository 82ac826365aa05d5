"""Only the tokens listed as acceptable are accepted (docs/reliability.md, J1–J29)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api import tokens
from app.api.tokens import Claims, TokenPolicy, VerificationKey, parse_unverified, verify
from app.domain.exceptions import AuthenticationError

NOW = 1_800_000_000
SECRET = b"a secret for tests that is long enough"
POLICY = TokenPolicy(issuer="encore", audience="encore", leeway=30, max_lifetime=86_400)
HMAC_KEY = VerificationKey("HS256", SECRET)
RSA_PRIVATE = rsa.generate_private_key(65_537, 2_048)
EC_PRIVATE = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = VerificationKey("RS256", RSA_PRIVATE.public_key())
EC_KEY = VerificationKey("ES256", EC_PRIVATE.public_key())
CLAIMS = {"iss": "encore", "aud": "encore", "sub": "u1", "iat": NOW - 10, "exp": NOW + 600, "scope": "recs:read"}


def encoded(part: object) -> str:
    text = part if isinstance(part, str) else json.dumps(part)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def signed(payload: object, header: object = None, secret: bytes = SECRET) -> bytes:
    """A token with this very header and payload text, correctly signed: what is wrong with it is inside."""
    head = {"alg": "HS256", "typ": "JWT"} if header is None else header
    text = f"{encoded(head)}.{encoded(payload)}"
    mac = hmac.digest(secret, text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}".encode()


def claims_of(token: bytes, key: VerificationKey | None = HMAC_KEY, now: float = NOW) -> Claims:
    return verify(parse_unverified(token), key, POLICY, now)


def with_claims(**changes: Any) -> bytes:
    claims = {**CLAIMS, **changes}
    return signed({name: value for name, value in claims.items() if value is not ...})


def is_refused(token: bytes, key: VerificationKey | None = HMAC_KEY) -> bool:
    try:
        claims_of(token, key)
    except AuthenticationError:
        return True
    return False


def test_a_plain_token_names_its_subject_and_scopes() -> None:
    assert claims_of(signed(CLAIMS)) == Claims("u1", frozenset({"recs:read"}), NOW - 10, NOW + 630)


@pytest.mark.parametrize(("private", "key"), [(RSA_PRIVATE, RSA_KEY), (EC_PRIVATE, EC_KEY)], ids=["RS256", "ES256"])
def test_public_key_algorithms_are_accepted_with_their_own_key(private: Any, key: VerificationKey) -> None:
    token = jwt.encode(CLAIMS, private, algorithm=key.algorithm).encode()
    assert claims_of(token, key).subject == "u1"
    assert is_refused(token, HMAC_KEY)
    assert is_refused(token, EC_KEY if key is RSA_KEY else RSA_KEY)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "nOnE"},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"alg": ["HS256"]},
        {"alg": None},
        {"typ": "JWT"},
        {"alg": "HS256", "crit": ["foo"], "foo": 1},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
        {"alg": "HS256", "typ": "refresh+jwt"},
        {"alg": "HS256", "typ": 1},
        {"alg": "HS256", "kid": "../../dev/null"},
        {"alg": "HS256", "kid": "x' UNION SELECT 1"},
        {"alg": "HS256", "kid": "|sleep 10"},
        {"alg": "HS256", "kid": "k" * 10_000},
        {"alg": "HS256", "kid": ["k"]},
        '{"alg":"HS256","alg":"none"}',
        "[]",
        "not json",
        '{"alg":' * 2_000,
    ],
    ids=lambda header: str(header)[:40],
)
def test_headers_that_try_anything_are_refused(header: object) -> None:
    assert is_refused(signed(CLAIMS, header))


@pytest.mark.parametrize("attacker", ["jku", "x5u", "jwk", "x5c"])
def test_keys_that_the_token_brings_along_mean_nothing(attacker: str) -> None:
    header = {"alg": "HS256", attacker: "https://evil.example/keys"}
    assert is_refused(signed(CLAIMS, header, secret=b"the attacker's own secret, long enough"))


def test_a_public_key_is_never_a_secret() -> None:
    public = RSA_PRIVATE.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(public).encode()
    for secret in (pem, pem.strip(), der, jwk, b"", b" "):
        assert is_refused(signed(CLAIMS, secret=secret), RSA_KEY)
        assert is_refused(signed(CLAIMS, secret=secret), None)


REFUSED_CLAIMS: list[Mapping[str, Any]] = [
    {"exp": ...},
    {"exp": NOW - 31},
    {"exp": str(NOW + 600)},
    {"exp": True},
    {"exp": -1},
    {"exp": "soon"},
    {"exp": None},
    {"exp": [NOW + 600]},
    {"exp": NOW + 315_360_000},
    {"exp": 10**30},
    {"iat": ...},
    {"iat": NOW + 31},
    {"iat": "0"},
    {"iat": 0},
    {"nbf": NOW + 31},
    {"nbf": "0"},
    {"nbf": None},
    {"aud": ...},
    {"aud": "other"},
    {"aud": "encore2"},
    {"aud": ["other"]},
    {"aud": ["encore", 1]},
    {"aud": {"encore": 1}},
    {"iss": ...},
    {"iss": "encor"},
    {"iss": "encore/"},
    {"iss": ["encore"]},
    {"sub": ...},
    {"sub": 1},
    {"sub": ""},
    {"sub": "a\nb"},
    {"sub": "u1\n"},
    {"sub": " a"},
    {"sub": "../u1"},
    {"sub": "x" * 4_096},
    {"sub": "admin\u200b"},
    {"sub": ["u1"]},
    {"token_use": "id"},
    {"token_use": "refresh"},
    {"token_use": ["access"]},
    {"typ": "ID"},
    {"typ": "Refresh"},
    {"typ": ["Bearer"]},
]


@pytest.mark.parametrize("changes", REFUSED_CLAIMS, ids=str)
def test_claims_that_do_not_hold_are_refused(changes: Mapping[str, Any]) -> None:
    assert is_refused(with_claims(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 30},
        {"iat": NOW + 30},
        {"nbf": NOW},
        {"aud": ["other", "encore"]},
        {"exp": NOW + 86_390},
        {"token_use": "access"},
        {"typ": "Bearer"},
        {"sub": "auth0|5f7c"},
        {"exp": NOW + 600.5},
    ],
    ids=str,
)
def test_claims_at_the_edge_of_what_is_allowed_are_accepted(changes: Mapping[str, Any]) -> None:
    assert not is_refused(with_claims(**changes))


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(CLAIMS)[:-1] + ',"sub":"admin"}',
        json.dumps(CLAIMS)[:-1] + ',"exp":NaN}',
        json.dumps(CLAIMS).replace(str(NOW + 600), "1e400"),
        json.dumps(CLAIMS).replace(str(NOW + 600), "9" * 5_000),
        json.dumps(CLAIMS).replace('"u1"', '"u1\\u0000"'),
        json.dumps(CLAIMS).replace('"u1"', '"\\ud800"'),
        json.dumps([CLAIMS]),
        '"u1"',
        "[" * 4_000,
        "",
    ],
    ids=lambda payload: payload[-20:],
)
def test_payloads_that_parsers_read_differently_are_refused(payload: str) -> None:
    assert is_refused(signed(payload))


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ("recs:read recs:admin", ["recs:admin", "recs:read"]),
        ("recs:admin", ["recs:admin"]),
        ("Recs:Admin", []),
        ("recs:admin,recs:read", []),
        (["recs:admin"], []),
        ("root", []),
        (None, []),
    ],
    ids=repr,
)
def test_scopes_are_exact_words_in_one_text(scope: object, granted: list[str]) -> None:
    assert sorted(claims_of(with_claims(scope=scope)).scopes) == granted
    assert claims_of(with_claims(role="admin", roles="recs:admin", scope=...)).scopes == {"recs:read"}


def test_what_is_not_three_plain_segments_is_refused() -> None:
    token = signed(CLAIMS)
    head, payload, mac = token.split(b".")
    for broken in (
        b"",
        b"..",
        b"a.b.",
        head + b"." + payload + b".",
        head + b"." + payload,
        token + b".x",
        token + b"\n",
        token + b"=",
        b" " + token,
        token.replace(b"-", b"+"),
        token + "é".encode(),
        head + b"." + payload + b"." + mac[:-2],
        token + b"A" * 8_192,
        b"a" * 1_000_000,
    ):
        if broken != token:
            assert is_refused(broken)


def test_a_megabyte_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def keep(raw: bytes) -> dict[str, object]:
        decoded.append(raw)
        return {}

    monkeypatch.setattr(tokens, "parse_json", keep)
    assert is_refused(signed({**CLAIMS, "pad": "x" * 1_000_000}))
    assert not decoded
    assert is_refused(signed(CLAIMS))
    assert decoded


@settings(max_examples=2_000)
@given(st.data())
def test_no_flipped_byte_is_accepted_as_somebody_else(data: st.DataObject) -> None:
    """A flip in the unused bits of the last base64 character leaves the same signature: the same claims, then."""
    token = bytearray(signed(CLAIMS))
    for _ in range(data.draw(st.integers(1, 3))):
        token[data.draw(st.integers(0, len(token) - 1))] = data.draw(st.integers(0, 255))
    try:
        claims = claims_of(bytes(token))
    except AuthenticationError:
        return
    assert claims.subject == "u1"
    assert (
        hashlib.sha256(b".".join(bytes(token).split(b".")[:2])).digest()
        == hashlib.sha256(b".".join(signed(CLAIMS).split(b".")[:2])).digest()
    )
