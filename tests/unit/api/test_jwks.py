"""Key sets: what is taken from them, and what happens while they cannot be had (J19–J23)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.api.jwks import KEEP_SECONDS, MAX_BYTES, KeySet, fetch_file, fetch_url, open_keys, read_keys
from app.domain.exceptions import ConfigurationError, InputError, UnavailableError


def rsa_jwk(key_id: str, bits: int = 2_048, **more: object) -> dict[str, Any]:
    public = rsa.generate_private_key(65_537, bits).public_key()
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public)), "kid": key_id, **more}


def ec_jwk(key_id: str, curve: ec.EllipticCurve, **more: object) -> dict[str, Any]:
    public = ec.generate_private_key(curve).public_key()
    return {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(public)), "kid": key_id, **more}


def document(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


class Source:
    """A fetch that answers what it is told, and counts."""

    def __init__(self, answer: bytes) -> None:
        self.answer: bytes | Exception = answer
        self.fetches = 0

    def __call__(self) -> bytes:
        self.fetches += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_only_keys_for_our_algorithms_and_for_signatures_are_taken() -> None:
    keys = read_keys(
        document(
            rsa_jwk("good"),
            ec_jwk("good-ec", ec.SECP256R1()),
            rsa_jwk("weak", bits=1_024),
            rsa_jwk("for-encryption", use="enc"),
            rsa_jwk("other-algorithm", alg="RS512"),
            ec_jwk("other-curve", ec.SECP384R1()),
            {"kty": "oct", "k": "c2VjcmV0", "kid": "symmetric"},
            {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
            {key: value for key, value in rsa_jwk("nameless").items() if key != "kid"},
        )
    )
    assert {key_id: key.algorithm for key_id, key in keys.items()} == {"good": "RS256", "good-ec": "ES256"}


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"keys":1}', b'{"keys":[' + b"{}," * 200 + b"{}]}", b""])
def test_what_is_no_key_set_is_refused(body: bytes) -> None:
    with pytest.raises(InputError):
        read_keys(body)


async def test_unknown_key_ids_cause_one_fetch_a_minute() -> None:
    now = [0.0]
    source = Source(document(rsa_jwk("k1")))
    keys = KeySet(source, lambda: now[0])
    for _ in range(1_000):
        assert await keys.find("unknown") is None
    assert source.fetches == 1
    now[0] = 61.0
    assert await keys.find("unknown") is None
    assert source.fetches == 2


async def test_a_rotated_key_is_found_and_the_withdrawn_one_is_gone() -> None:
    now = [0.0]
    source = Source(document(rsa_jwk("old")))
    keys = KeySet(source, lambda: now[0])
    assert await keys.find("old") is not None
    source.answer = document(rsa_jwk("new"))
    now[0] = 61.0
    assert await keys.find("new") is not None
    assert await keys.find("old") is None


async def test_the_last_good_keys_stay_for_a_day_while_the_source_is_down() -> None:
    now = [0.0]
    source = Source(document(rsa_jwk("k1")))
    keys = KeySet(source, lambda: now[0])
    assert await keys.find("k1") is not None
    for failure in (OSError("down"), b"<html>", b"[" * 10_000):
        source.answer = failure
        now[0] += 61.0
        await keys.refresh(60.0)
        assert await keys.find("k1") is not None
    now[0] += KEEP_SECONDS
    with pytest.raises(UnavailableError):
        await keys.find("k1")


@pytest.mark.parametrize("empty", [b'{"keys": []}', document({"kty": "oct", "k": "c2VjcmV0", "kid": "k1"})])
async def test_a_set_without_a_key_for_us_never_replaces_one_that_has_some(empty: bytes) -> None:
    now = [0.0]
    source = Source(document(rsa_jwk("k1")))
    keys = KeySet(source, lambda: now[0])
    assert await keys.find("k1") is not None
    source.answer, now[0] = empty, 300.0
    await keys.refresh(60.0)
    assert source.fetches == 2
    assert await keys.find("k1") is not None


async def test_keys_are_fetched_before_anybody_asks_for_one() -> None:
    source = Source(document(rsa_jwk("k1")))
    keys = KeySet(source)
    following = asyncio.create_task(keys.follow())
    await asyncio.sleep(0)  # it has begun: whoever asks now waits for what it fetches
    assert await keys.find("k1") is not None
    assert source.fetches == 1
    following.cancel()


async def test_after_a_failed_fetch_the_next_is_tried_within_seconds_and_not_more_often() -> None:
    now = [0.0]
    source = Source(b"")
    source.answer = OSError("away")
    keys = KeySet(source, lambda: now[0])
    tried = []
    for tenth in range(300):  # half a minute in which people keep coming
        now[0], before = tenth / 10, source.fetches
        with pytest.raises(UnavailableError):
            await keys.find("k1")
        tried += [now[0]] * (source.fetches - before)
    assert tried == [0.0, 1.0, 3.0, 7.0, 12.0, 17.0, 22.0, 27.0]
    source.answer, now[0] = document(rsa_jwk("k1")), 32.0
    assert await keys.find("k1") is not None
    assert await keys.find("unknown") is None
    assert source.fetches == len(tried) + 1


async def test_without_any_keys_yet_nobody_is_called_a_liar() -> None:
    with pytest.raises(UnavailableError):
        await KeySet(Source(b"<html>"), lambda: 0.0).find("k1")


async def test_a_token_without_a_key_id_finds_no_key() -> None:
    assert await KeySet(Source(document(rsa_jwk("k1")))).find(None) is None


def test_exactly_one_source_of_keys_is_set(tmp_path: Path) -> None:
    for given in (
        (None, None, None),
        ("s" * 32, "https://x/jwks", None),
        ("s" * 32, None, tmp_path),
        (None, "http://keys.example/jwks", None),
        (None, "file:///etc/passwd", None),
    ):
        with pytest.raises(ConfigurationError):
            open_keys(*given)
    for good in (("s" * 32, None, None), (None, "https://x/jwks", None), (None, "http://localhost:1/", None)):
        open_keys(*good)


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(b"{}")
    assert fetch_file(path) == b"{}"
    path.write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(OSError, match="too large"):
        fetch_file(path)


class Answering(BaseHTTPRequestHandler):
    """`/ok` a document, `/moved` a redirect to it, `/huge` without end."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/ok")
            self.end_headers()
            return
        self.send_response(200 if self.path != "/broken" else 500)
        self.end_headers()
        if self.path == "/huge":
            try:
                while True:
                    self.wfile.write(b" " * 65_536)
            except OSError:
                return
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_fetched_without_following_redirects_and_up_to_a_bound(address: str) -> None:
    assert fetch_url(address + "/ok") == b"{}"
    Answering.asked.clear()
    for path in ("/moved", "/huge", "/broken"):
        with pytest.raises(OSError):  # noqa: PT011  # URLError and HTTPError are OSErrors of many wordings
            fetch_url(address + path)
    assert Answering.asked == ["/moved", "/huge", "/broken"]
