"""The edges of the running server: its certificate, and pages of other origins in a real browser."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from app.domain.exceptions import ConfigurationError
from app.infrastructure.server_tls import ServerCertificate
from tests.integration.api.processes import FAN, Process, serving
from tests.integration.api.running_service import bearer, opened_copy, token
from tests.servers.certificates import Authority, Pair

SHOP, STRANGER = "https://www.shop.example", "https://www.stranger.example"
_CIPHERS = bytes.fromhex("0004 c013 c014 0100")
_HELLO = bytes.fromhex("0302") + bytes(32) + b"\0" + _CIPHERS
TLS_1_1_HELLO = (
    bytes.fromhex("16 0301") + (len(_HELLO) + 4).to_bytes(2, "big") + b"\1" + len(_HELLO).to_bytes(3, "big") + _HELLO
)
"""A ClientHello (RFC 4346 §7.4.1.2) that offers nothing newer than TLS 1.1: our own OpenSSL would not say it."""

PATIENCE_SECONDS = 30.0
LIST = f"/api/v1/recs/{FAN}"


def eventually(told: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not told():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def vary(answer: Any) -> set[str]:
    return {name.strip().lower() for name in answer.headers["vary"].split(",")}


def test_an_answer_names_the_origin_that_may_read_it_on_both_ways_and_for_refusals(
    built: Path, tmp_path: Path, way: str
) -> None:
    with opened_copy(built, tmp_path, cors_origins=f"{SHOP}, http://localhost:3000") as running:
        ask = running.client.get
        for path, headers in ((LIST, bearer(FAN)), (LIST, {}), ("/nowhere", {}), (LIST, bearer("somebody-else"))):
            theirs = ask(path, headers={**headers, "Origin": SHOP})
            assert theirs.headers["access-control-allow-origin"] == SHOP, (way, path)
            assert "ratelimit" in theirs.headers["access-control-expose-headers"]
            assert "access-control-allow-credentials" not in theirs.headers
            for origin in (STRANGER, SHOP.upper(), f"{SHOP}.evil.example", f"{SHOP}:443", f"{SHOP}/", "null", None):
                other = ask(path, headers=headers if origin is None else {**headers, "Origin": origin})
                assert "access-control-allow-origin" not in other.headers, origin
                assert other.status_code == theirs.status_code
                assert vary(other) == vary(theirs) == {"authorization", "x-api-key", "origin"}


def test_preflights_are_answered_for_known_origins_on_every_route(built: Path, tmp_path: Path) -> None:
    with opened_copy(built, tmp_path, cors_origins=SHOP, cors_credentials=True) as running:

        def preflight(path: str, origin: str, method: str | None = "GET") -> Any:
            asked = {} if method is None else {"Access-Control-Request-Method": method}
            return running.client.options(path, headers={"Origin": origin, **asked})

        for path, methods in ((LIST, "GET, HEAD, OPTIONS, POST"), ("/api/v1/events", "OPTIONS, POST")):
            answer = preflight(path, SHOP)
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-methods"] == methods
            assert "authorization" in answer.headers["access-control-allow-headers"]
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert (answer.headers["access-control-max-age"], "origin" in vary(answer)) == ("600", True)
        for answer in (preflight(LIST, STRANGER), preflight(LIST, SHOP, None)):
            assert answer.status_code == 204
            assert "access-control-allow-methods" not in answer.headers
        assert "access-control-allow-origin" not in preflight(LIST, STRANGER).headers


def test_without_the_setting_nothing_is_said_and_with_a_star_everybody_may_read(built: Path, tmp_path: Path) -> None:
    with opened_copy(built, tmp_path / "none") as running:
        answer = running.client.get(LIST, headers={**bearer(FAN), "Origin": SHOP})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert vary(answer) == {"authorization", "x-api-key"}
    with opened_copy(built, tmp_path / "all", cors_origins="*") as running:
        answer = running.client.get(LIST, headers={**bearer(FAN), "Origin": STRANGER})
        assert (answer.headers["access-control-allow-origin"], "origin" in vary(answer)) == ("*", False)


@contextlib.contextmanager
def site() -> Iterator[str]:
    """An empty page on an origin of its own."""

    class EmptyPage(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>shop</title>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


ASK = """async ([address, token]) => {
  try {
    const answer = await fetch(address, {headers: {authorization: "Bearer " + token, "x-request-id": "from-a-page"}});
    return [answer.status, answer.headers.get("x-request-id"), (await answer.json()).recommendations?.length > 0];
  } catch (error) { return [error.name]; }
}"""


@dataclass(frozen=True)
class Secured:
    """`encore serve` with a certificate of `authority`."""

    server: Process
    authority: Authority
    pair: Pair

    def handshake(self, name: str = "127.0.0.1", **limits: Any) -> Mapping[str, Any]:
        """What the server shows to somebody who believes the authority. Raises ssl.SSLError."""
        context = ssl.create_default_context(cafile=str(self.authority.cert))
        for limit, value in limits.items():
            setattr(context, limit, value)
        with (
            socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            secure.sendall(f"GET {LIST} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            assert secure.recv(64).startswith(b"HTTP/1.1 401")
            return {**(secure.getpeercert() or {}), "version": secure.version()}


def test_a_page_of_a_named_origin_reads_a_list_and_a_page_of_another_does_not(
    built: Path, tmp_path: Path, browser: Browser
) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "served"))
    with site() as shop, site() as stranger, serving(folder, ENCORE_CORS_ORIGINS=shop) as server:
        address, page = f"http://127.0.0.1:{server.port}{LIST}", browser.new_page()
        answers = {}
        for origin in (shop, stranger):
            page.goto(origin)
            answers[origin] = page.evaluate(ASK, [address, token(FAN)])
        page.close()
    assert answers == {shop: [200, "from-a-page", True], stranger: ["TypeError"]}


def test_the_certificate_is_shown_renewed_without_a_restart_and_never_half(built: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "served"))
    authority = Authority(tmp_path / "ca")
    first, second = authority.pair("127.0.0.1"), authority.pair("127.0.0.1")
    shown = Pair(Path(shutil.copy(first.cert, folder / "tls.pem")), Path(shutil.copy(first.key, folder / "tls.key")))
    settings = {"ENCORE_TLS_CERT_FILE": str(shown.cert), "ENCORE_TLS_KEY_FILE": str(shown.key)}
    context = ssl.create_default_context(cafile=str(authority.cert))
    with serving(folder, tls=context, **settings) as server:
        secured = Secured(server, authority, shown)
        before = secured.handshake()
        assert before["version"] == "TLSv1.3"
        assert secured.handshake(maximum_version=ssl.TLSVersion.TLSv1_2)["version"] == "TLSv1.2"
        assert not server.send(TLS_1_1_HELLO).startswith(b"\x16")  # an alert or nothing, and no ServerHello
        with pytest.raises(ssl.SSLCertVerificationError):
            secured.handshake("wrong.example")
        assert not server.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 2")

        shutil.copy(second.cert, shown.cert)  # the key is not there yet
        eventually(lambda: b"certificate_unusable" in server.log.read_bytes())
        assert secured.handshake()["serialNumber"] == before["serialNumber"]
        shutil.copy(second.key, shown.key)
        eventually(lambda: secured.handshake()["serialNumber"] != before["serialNumber"])


@pytest.mark.parametrize(
    ("cert", "key", "blamed"),
    [
        ("good.cert", "other.key", "ENCORE_TLS_KEY_FILE: is not the key of ENCORE_TLS_CERT_FILE"),
        ("good.cert", "good.cert", "ENCORE_TLS_KEY_FILE: holds no key"),
        ("good.key", "good.key", "ENCORE_TLS_CERT_FILE: holds no certificate"),
        ("good.cert", "absent", "ENCORE_TLS_KEY_FILE: cannot be read"),
    ],
)
def test_a_pair_that_cannot_be_used_is_named(tmp_path: Path, cert: str, key: str, blamed: str) -> None:
    authority = Authority(tmp_path)
    pairs = {"good": authority.pair("localhost"), "other": authority.pair("localhost")}

    def path(text: str) -> Path:
        which, _, part = text.partition(".")
        return getattr(pairs[which], part) if part else tmp_path / text

    with pytest.raises(ConfigurationError) as caught:
        ServerCertificate(path(cert), path(key))
    assert blamed in str(caught.value)
