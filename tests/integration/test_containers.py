"""Whether a Docker engine answers, asked of the engine and not of its client program."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers.containers import docker_answers

VERSIONS = {"ApiVersion": "1.51", "MinAPIVersion": "1.24"}


class _Engine(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = (
            b"OK"
            if self.path.endswith("_ping")
            else json.dumps({"ApiVersion": "1.51", "MinAPIVersion": "1.24"}).encode()
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    docker_answers.cache_clear()
    yield
    docker_answers.cache_clear()


def test_an_engine_that_answers_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Engine) as engine:
        threading.Thread(target=engine.serve_forever, daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{engine.server_port}")
        monkeypatch.setattr("tests.servers.containers._ANSWER_SECONDS", 20)  # this engine shares our processor

        assert docker_answers()

        engine.shutdown()


def test_a_socket_that_is_silent_or_closed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()

        assert not docker_answers()

        assert time.monotonic() - began < 20  # by itself the client waits for a minute
    docker_answers.cache_clear()
    assert not docker_answers()
