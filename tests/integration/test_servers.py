"""The harness itself: servers freeze, die, come back with their data, and never outlive who started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
import redis

from tests.servers import fleet as fleet_module
from tests.servers.fleet import Fleet, obtain
from tests.servers.plugin import share_of_databases
from tests.servers.postgres import answers, execute
from tests.servers.process import NOBODY, ServerFailedError, ServerMissingError, ServerProcess, free_ports
from tests.servers.server import Server, run_sync

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.real_servers


def until(claim: Callable[[], bool], seconds: float = 60) -> bool:
    """True as soon as `claim` holds, False if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if claim():
            return True
        time.sleep(0.02)
    return claim()


def is_running(pid: int) -> bool:
    """True unless the process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_address_in_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_TEST_REDIS_URL", "redis://elsewhere:1/0")

    server = obtain("redis")

    assert (server.url, server.origin) == ("redis://elsewhere:1/0", "the environment")


def test_a_missing_server_is_reported_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Server:
        raise ServerMissingError("not on this machine")

    monkeypatch.setattr(fleet_module, "START", {**fleet_module.START, "redis": nowhere})
    monkeypatch.delenv("ENCORE_TEST_REDIS_URL", raising=False)
    fleet = Fleet()

    with pytest.raises(ServerMissingError, match="not on this machine"):
        fleet.get("redis")
    fleet.stop()


def test_a_server_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    process = ServerProcess("ill", ["sh", "-c", "echo no disk; exit 3"], tmp_path, is_ready=lambda: False)

    with pytest.raises(ServerFailedError, match="no disk"):
        process.start()


def test_a_frozen_redis_accepts_and_never_answers_until_it_is_thawed(own_redis: Server) -> None:
    own_redis.control.pause()
    with redis.Redis.from_url(own_redis.url, socket_timeout=0.2, retry=None) as client:
        with pytest.raises(redis.TimeoutError):
            client.ping()
        own_redis.control.resume()
        assert client.ping()


def test_a_killed_postgres_comes_back_with_what_was_committed(own_postgres: Server) -> None:
    execute(own_postgres.url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)", "CHECKPOINT")

    own_postgres.control.kill()
    gone = answers(own_postgres.url.replace("+asyncpg", ""))
    own_postgres.control.restart()

    assert not gone
    assert run_sync(_value(own_postgres.url, "SELECT n FROM kept")) == 7


def test_a_frozen_postgres_freezes_its_back_ends_too(own_postgres: Server) -> None:
    async def ask_while_frozen() -> None:
        connection = await asyncpg.connect(own_postgres.url.replace("+asyncpg", ""), command_timeout=0.3)
        own_postgres.control.pause()
        try:
            with pytest.raises(TimeoutError):
                await connection.fetchval("SELECT 1")
        finally:
            own_postgres.control.resume()
            connection.terminate()

    run_sync(ask_while_frozen())


def test_each_test_gets_a_database_of_its_own(empty_postgres_url: str) -> None:
    name = run_sync(_value(empty_postgres_url, "SELECT current_database()"))

    assert empty_postgres_url.endswith(f"/{name}")


def test_processes_that_share_a_redis_from_the_environment_use_different_databases() -> None:
    shares = [
        share_of_databases({"PYTEST_XDIST_WORKER": f"gw{worker}", "PYTEST_XDIST_WORKER_COUNT": "2"})
        for worker in range(2)
    ]
    assert sorted([*shares[0], *shares[1]]) == list(share_of_databases({})) == list(range(1, 16))


def test_servers_die_with_a_starter_that_is_killed() -> None:
    script = """
import sys, time
from tests.servers.fleet import Fleet
fleet = Fleet()
fleet.begin(["redis", "postgres"])
print(fleet.get("redis").control.pid, fleet.get("postgres").control.pid, flush=True)
time.sleep(60)
"""
    starter = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    pids = [int(word) for word in starter.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(is_running, pids))

    starter.kill()
    starter.wait()
    starter.stdout.close()

    assert until(lambda: not any(map(is_running, pids)), seconds=3)


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
def test_a_normal_user_can_start_them_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    command = [sys.executable, "-m", "tests.servers", "redis", "postgres"]
    started = subprocess.Popen(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command],
        cwd=ROOT,
        env={**os.environ, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    lines = [started.stdout.readline() for _ in range(2)]

    started.send_signal(signal.SIGINT)

    assert started.wait(20) == 0
    started.stdout.close()
    assert [line.partition("=")[0] for line in lines] == [
        "export ENCORE_TEST_REDIS_URL",
        "export ENCORE_TEST_POSTGRES_URL",
    ]


def test_ports_are_free_and_different() -> None:
    ports = free_ports(50)

    assert len(set(ports)) == 50
    assert max(ports) < 32_768


async def _value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=5)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
