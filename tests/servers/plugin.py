"""Fixtures: real servers for a session, and a clean corner of each for a test.

A server that cannot be had is a visible skip with the reason; in CI (CI=true) it is a failure. Servers named by the
collected tests start together in the background before the first test runs. To break a server, take one of your own
(`own_postgres`, …): the shared ones are everybody's.
"""

from __future__ import annotations

import gc
import itertools
import os
import uuid
from collections.abc import Callable, Iterator, Mapping

import pytest
import redis as redis_client
from playwright.sync_api import Browser

from tests.servers.browser import chromium
from tests.servers.fleet import START, Fleet
from tests.servers.kafka import start_kafka
from tests.servers.postgres import execute, on_database, start_postgres
from tests.servers.process import ServerMissingError
from tests.servers.redis import start_redis
from tests.servers.redis_topologies import Topology, start_cluster, start_sentinel
from tests.servers.s3 import start_s3
from tests.servers.server import Server


def share_of_databases(environment: Mapping[str, str]) -> range:
    """The Redis databases of this process among those that share the tests (`pytest -n`), and perhaps one server."""
    worker = int(environment.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return range(1 + worker, 16, int(environment.get("PYTEST_XDIST_WORKER_COUNT", "1")))


_FLEET = pytest.StashKey[Fleet]()
_redis_databases = itertools.cycle(share_of_databases(os.environ))


def pytest_configure(config: pytest.Config) -> None:
    """One fleet a session."""
    config.stash[_FLEET] = Fleet()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start what the collected tests name."""
    if not session.config.option.collectonly:
        gc.collect()
        gc.freeze()  # modules and tests: the collection after each test need not look at them again
        session.config.stash[_FLEET].begin(name for name in START if any(_names(item, name) for item in session.items))


def _names(item: pytest.Item, server: str) -> bool:
    """By a fixture, or by a parameter that a fixture will look at (`params=["sqlite", "postgres"]`)."""
    if f"{server}_server" in getattr(item, "fixturenames", ()):
        return True
    parameters = getattr(item, "callspec", None)
    return parameters is not None and any(value == server for value in _words(parameters.params))


_OTHERS = ("world", "own_redis_sentinel")


def uses_server(item: pytest.Item) -> bool:
    """True if a test takes one of the servers, shared or its own."""
    named = getattr(item, "fixturenames", ())
    return any(_names(item, name) or f"own_{name}" in named for name in START) or any(one in named for one in _OTHERS)


def is_starting(config: pytest.Config) -> bool:
    """True while shared servers come up in the background."""
    return config.stash[_FLEET].is_starting()


def _words(parameters: Mapping[str, object]) -> Iterator[str]:
    return (value for value in parameters.values() if isinstance(value, str))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what was started, also after an interrupted run."""
    if _FLEET in config.stash:
        config.stash[_FLEET].stop()


def missing(exc: ServerMissingError) -> None:
    """Skip, or fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(exc), pytrace=False)
    pytest.skip(str(exc))


def _shared(config: pytest.Config, name: str) -> Server:
    try:
        return config.stash[_FLEET].get(name)
    except ServerMissingError as exc:
        missing(exc)
        raise


def _topology(start: Callable[[], Topology]) -> Iterator[Topology]:
    try:
        topology = start()
    except ServerMissingError as exc:
        missing(exc)
        raise
    yield topology
    topology.stop()


def _of_our_own(start: Callable[[], Server]) -> Iterator[Server]:
    try:
        server = start()
    except ServerMissingError as exc:
        missing(exc)
        raise
    yield server
    server.stop()


# ── shared servers ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Server:
    """PostgreSQL; its `url` names the maintenance database."""
    return _shared(pytestconfig, "postgres")


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> Server:
    """Redis or Valkey."""
    return _shared(pytestconfig, "redis")


@pytest.fixture(scope="session")
def kafka_server(pytestconfig: pytest.Config) -> Server:
    """One broker, `kafka://host:port`. Topics are everybody's: name yours after your test or use your own broker."""
    return _shared(pytestconfig, "kafka")


@pytest.fixture(scope="session")
def s3_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """An S3 store with one bucket; its credentials are in the environment while it is used."""
    server = _shared(pytestconfig, "s3")
    with pytest.MonkeyPatch.context() as patch:
        _set(patch, server.environment)
        yield server


def _set(patch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        patch.setenv(name, value)


# ── a clean corner for one test ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Server) -> Iterator[str]:
    """The name of a migrated, empty database to copy from (30 ms instead of a migration)."""
    # Imported late: tests of other servers must not need the database package.
    from app.infrastructure.database.migrate import migrate

    name = f"encore_template_{uuid.uuid4().hex[:12]}"
    execute(postgres_server.url, f"CREATE DATABASE {name}")
    migrate(on_database(postgres_server.url, name))
    yield name
    execute(postgres_server.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(postgres_server: Server, postgres_template: str) -> Iterator[str]:
    """A migrated database of this test's own."""
    yield from _new_database(postgres_server, f" TEMPLATE {postgres_template}")


@pytest.fixture
def empty_postgres_url(postgres_server: Server) -> Iterator[str]:
    """An empty database of this test's own: for tests of the migrations."""
    yield from _new_database(postgres_server, "")


def _new_database(server: Server, template: str) -> Iterator[str]:
    name = f"encore_test_{uuid.uuid4().hex[:12]}"
    execute(server.url, f"CREATE DATABASE {name}{template}")
    yield on_database(server.url, name)
    execute(server.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url(redis_server: Server) -> str:
    """A database (1–15) of this test's own, emptied first. Channels are not per database."""
    url = f"{redis_server.url.rpartition('/')[0]}/{next(_redis_databases)}"
    with redis_client.Redis.from_url(url, socket_timeout=5) as connection:
        connection.flushdb()
    return url


@pytest.fixture(scope="session")
def redis_cluster_servers() -> Iterator[Topology]:
    """Valkey in three nodes."""
    yield from _topology(start_cluster)


@pytest.fixture(scope="session")
def redis_sentinel_servers() -> Iterator[Topology]:
    """A primary, two replicas, three sentinels: not to be broken."""
    yield from _topology(start_sentinel)


@pytest.fixture
def redis_cluster_url(redis_cluster_servers: Topology) -> str:
    """The cluster, emptied."""
    redis_cluster_servers.empty()
    return redis_cluster_servers.url


@pytest.fixture
def redis_sentinel_url(redis_sentinel_servers: Topology) -> str:
    """The sentinels' address, what they watch emptied."""
    redis_sentinel_servers.empty()
    return redis_sentinel_servers.url


@pytest.fixture
def own_redis_sentinel() -> Iterator[Topology]:
    """Sentinels and what they watch for one test, whose primary may be killed."""
    yield from _topology(start_sentinel)


@pytest.fixture
def kafka_url(kafka_server: Server) -> str:
    """The shared broker's address."""
    return kafka_server.url


@pytest.fixture
def s3_url(s3_server: Server) -> str:
    """A prefix of this test's own: `s3://bucket/prefix?endpoint=…`, credentials in the environment."""
    place, _, query = s3_server.url.partition("?")
    return f"{place}/{uuid.uuid4().hex[:12]}?{query}"


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A headless Chromium, for tests that look at pages. Per test: while it is open, its loop is this thread's."""
    try:
        with chromium() as found:
            yield found
    except ServerMissingError as exc:
        missing(exc)
        raise


# ── servers to break ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def own_postgres() -> Iterator[Server]:
    """PostgreSQL for one test, to be frozen and killed through `.control`."""
    yield from _of_our_own(start_postgres)


@pytest.fixture
def own_redis() -> Iterator[Server]:
    """Redis for one test, to be frozen and killed."""
    yield from _of_our_own(start_redis)


@pytest.fixture
def own_kafka() -> Iterator[Server]:
    """A broker for one test, to be frozen and killed."""
    yield from _of_our_own(start_kafka)


@pytest.fixture
def own_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An S3 store for one test, to be frozen and killed; its credentials are in the environment."""
    for server in _of_our_own(start_s3):
        _set(monkeypatch, server.environment)
        yield server
