"""What operators look at: on a listener of its own, at most a second old, made beside the event loop."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.registry import Collector

from app import telemetry
from tests.integration.api.processes import free_port, serving
from tests.integration.api.running_service import RunningService, is_problem, opened_copy

SHOWN = ("/metrics", "/openapi.json", "/docs", "/redoc", "/")


def get(port: int, path: str) -> tuple[int, bytes]:
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


class Witness(Collector):
    """Stands in the registry and notes who collects it, and how often."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def collect(self) -> Iterator[Metric]:
        self.threads.append(threading.current_thread())
        yield from ()


@pytest.fixture
def witness() -> Iterator[Witness]:
    collector = Witness()
    telemetry.REGISTRY.register(collector)
    collector.threads.clear()
    yield collector
    telemetry.REGISTRY.unregister(collector)


def test_the_listener_for_operators_shows_what_the_public_one_does_not(built: Path, tmp_path: Path) -> None:
    admin = free_port()
    with (
        opened_copy(built, tmp_path),
        serving(tmp_path, ENCORE_OPERATIONS_OPEN="false", ENCORE_ADMIN_PORT=str(admin)) as process,
    ):
        for path in SHOWN:
            assert get(process.port, path)[0] == 404, path
            assert get(admin, path)[0] == 200, path
        document = json.loads(get(admin, "/openapi.json")[1])
        assert "/api/v1/recs/{user_id}" in document["paths"]
        assert get(admin, "/health/ready")[0] == get(process.port, "/health/ready")[0] == 200
        assert get(admin, "/docs/assets/swagger-ui.css")[0] == 200
        assert get(admin, "/api/v1/recs/u1")[0] == 404
        assert b"encore_http_requests_total" in get(admin, "/metrics")[1]
        process.process.terminate()
        assert process.process.wait(20) == 0


def test_a_port_for_operators_that_is_taken_ends_the_process(built: Path, tmp_path: Path) -> None:
    with socket.socket() as taken, opened_copy(built, tmp_path):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(AssertionError, match="Address already in use"),
            serving(tmp_path, ENCORE_ADMIN_PORT=str(taken.getsockname()[1])),
        ):
            pass


@pytest.mark.parametrize(
    ("environment", "asked", "status"),
    [("production", None, 404), ("production", True, 200), ("development", None, 200), ("test", False, 404)],
)
def test_figures_and_documents_are_not_public_in_production_unless_asked_for(
    built: Path, tmp_path: Path, environment: str, asked: bool | None, status: int
) -> None:
    with opened_copy(built, tmp_path, environment=environment, operations_open=asked) as running:
        for path in SHOWN:
            assert running.get(path, {}).status_code == status, path
        assert running.get("/health/live", {}).status_code == 200


def test_figures_are_collected_once_a_second_and_beside_the_event_loop(
    running: RunningService, witness: Witness
) -> None:
    loop_thread: list[threading.Thread] = []

    async def note() -> None:
        loop_thread.append(threading.current_thread())

    assert running.client.portal is not None
    running.client.portal.call(note)
    bodies = {running.get("/metrics", {}).content for _ in range(30)}
    assert len(witness.threads) <= 3  # thirty requests take a second or two on a busy machine
    assert len(bodies) == len(witness.threads)
    assert loop_thread[0] not in witness.threads


def test_figures_and_documents_on_the_public_port_count_against_the_limit_of_strangers(
    built: Path, tmp_path: Path
) -> None:
    with opened_copy(built, tmp_path, rate_limit_per_minute=5) as running:
        statuses = [running.get(path, {}).status_code for path in SHOWN * 2]
        assert statuses == [200] * 5 + [429] * 5
        assert is_problem(running.get("/metrics", {}), 429, "rate-limited")
        assert running.get("/health/ready", {}).status_code == 200
