"""How the real process starts and stops (O3)."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

from tests.integration.api.processes import FAN, HOST, JSON, environment_of, post, read_all, serving
from tests.integration.api.running_service import bearer, build


def test_while_draining_it_is_not_ready_and_answers_all_the_same(tmp_path: Path) -> None:
    """O3: load balancers get time to notice; whoever comes until then is served."""
    build(tmp_path)
    with serving(tmp_path, ENCORE_DRAIN_SECONDS="2") as server:
        statuses: list[int] = []
        has_noticed = threading.Event()

        def ask() -> None:
            while not has_noticed.is_set():
                with contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
                    connection.request("GET", f"/api/v1/recs/{FAN}", headers=bearer(FAN))
                    answer = connection.getresponse()
                    answer.read()
                    statuses.append(answer.status)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        before = len(statuses)
        probe = server.send(b"GET /health/ready HTTP/1.1\r\n" + HOST + b"\r\n")
        assert probe.startswith(b"HTTP/1.1 503")
        assert b"problem+json" in probe
        assert server.send(b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n").startswith(b"HTTP/1.1 200")
        has_noticed.set()
        for thread in threads:
            thread.join()
        assert len(statuses) > before
        assert set(statuses) == {200}
        assert server.process.wait(25) == 0
        for line in server.log.read_text().splitlines():
            json.loads(line)


def test_a_stop_waits_for_what_is_in_flight_and_ends_with_zero(tmp_path: Path) -> None:
    build(tmp_path)
    body = json.dumps({"history": ["crime-01"]}).encode()
    with serving(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(post(JSON + b"Content-Length: %d\r\n" % len(body), body[:5]))
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert server.process.poll() is None
            connection.sendall(body[5:])
            assert read_all(connection).startswith(b"HTTP/1.1 200")
        assert server.process.wait(25) == 0


def test_a_second_interrupt_ends_the_drain(tmp_path: Path) -> None:
    build(tmp_path)
    with serving(tmp_path, ENCORE_DRAIN_SECONDS="60") as server:
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0


def test_it_does_not_start_on_a_database_without_its_schema(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "app.cli", "serve"],
        env=environment_of(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert "encore migrate" in run.stderr
    assert len(run.stderr.splitlines()) == 1
