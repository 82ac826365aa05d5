"""Tokens of an identity provider: RS256 and ES256 by a key set in a file (J3, J19, J22, J23)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.connecting import utc_now
from tests.integration.api.running_service import is_problem, opened_copy

FAN = "crime-fan-3"
LIST = f"/api/v1/recs/{FAN}"
RSA_KEY = rsa.generate_private_key(65_537, 2_048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def signed(key: Any, algorithm: str, key_id: str | None) -> dict[str, str]:
    now = int(utc_now().timestamp())
    claims = {"iss": "encore", "aud": "encore", "sub": FAN, "iat": now, "exp": now + 600}
    headers = {} if key_id is None else {"kid": key_id}
    return {"Authorization": "Bearer " + jwt.encode(claims, key, algorithm=algorithm, headers=headers)}


@pytest.fixture
def key_set(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    keys = [
        {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key())), "kid": "r1", "use": "sig"},
        {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY.public_key())), "kid": "e1", "alg": "ES256"},
    ]
    path.write_text(json.dumps({"keys": keys}))
    return path


def test_tokens_by_a_key_in_the_set_are_accepted_and_no_others(built: Path, tmp_path: Path, key_set: Path) -> None:
    with opened_copy(built, tmp_path / "house", jwt_secret=None, jwt_jwks_file=key_set) as running:
        assert running.get(LIST, signed(RSA_KEY, "RS256", "r1")).status_code == 200
        assert running.get(LIST, signed(EC_KEY, "ES256", "e1")).status_code == 200
        for forged in (
            signed(RSA_KEY, "RS256", None),
            signed(RSA_KEY, "RS256", "e1"),
            signed(RSA_KEY, "RS256", "r2"),
            signed(RSA_KEY, "RS256", "../jwks.json"),
            signed(RSA_KEY, "RS512", "r1"),
            signed(rsa.generate_private_key(65_537, 2_048), "RS256", "r1"),
            signed("a secret of the attacker's own choice", "HS256", "r1"),
        ):
            assert is_problem(running.get(LIST, forged), 401, "invalid-token")


def test_without_the_set_nobody_can_say_and_lists_are_unavailable(built: Path, tmp_path: Path) -> None:
    with opened_copy(built, tmp_path, jwt_secret=None, jwt_jwks_file=tmp_path / "missing.json") as running:
        assert is_problem(running.get(LIST, signed(RSA_KEY, "RS256", "r1")), 503, "unavailable")
        assert running.get("/health/live", {}).status_code == 200
