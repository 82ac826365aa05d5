"""The same servers from testcontainers, where a Docker engine answers."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import socket
from collections.abc import Callable
from typing import Any

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from tests.servers import s3
from tests.servers.process import ServerMissingError
from tests.servers.server import Server

POSTGRES_IMAGE = "postgres:18.1-alpine"
REDIS_IMAGE = "redis:8.2-alpine"
KAFKA_IMAGE = "apache/kafka:4.3.1"
S3_IMAGE = "chrislusf/seaweedfs:4.48"

_ANSWER_SECONDS = 2
_SOCKET = "/var/run/docker.sock"


@functools.cache
def docker_answers() -> bool:
    """True if the engine itself answers within two seconds: a command-line client alone is not one."""
    if "DOCKER_HOST" not in os.environ and not _is_open(_SOCKET):
        return False
    try:
        with contextlib.closing(docker.from_env(timeout=_ANSWER_SECONDS)) as engine:
            return bool(engine.ping())
    except (DockerException, RequestException):
        return False


def _is_open(path: str) -> bool:
    """Asked before docker's own client, which leaves its socket open where nobody listens."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(_ANSWER_SECONDS)
        return probe.connect_ex(path) == 0


def start_container(name: str) -> Server:
    """One container; raises ServerMissingError where there is no engine."""
    if not docker_answers():
        raise ServerMissingError("no Docker engine answers")
    return _STARTERS[name]()


def _postgres() -> Server:
    module = importlib.import_module("testcontainers.postgres")
    container = module.PostgresContainer(POSTGRES_IMAGE, username="postgres", password="postgres", dbname="postgres")
    container.start()
    address = f"{container.get_container_host_ip()}:{container.get_exposed_port(5432)}"
    return _serve("postgres", f"postgresql+asyncpg://postgres:postgres@{address}/postgres", container)


def _redis() -> Server:
    container = importlib.import_module("testcontainers.redis").RedisContainer(REDIS_IMAGE)
    container.start()
    return _serve(
        "redis", f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0", container
    )


def _kafka() -> Server:
    container = importlib.import_module("testcontainers.kafka").KafkaContainer(KAFKA_IMAGE).with_kraft()
    container.start()
    return _serve("kafka", f"kafka://{container.get_bootstrap_server()}", container)


def _s3() -> Server:
    container = importlib.import_module("testcontainers.core.container").DockerContainer(S3_IMAGE)
    container.with_command("mini -dir=/data").with_exposed_ports(8333)
    for name, value in s3.CREDENTIALS.items():
        container.with_env(name, value)
    container.start()
    address = f"{container.get_container_host_ip()}:{container.get_exposed_port(8333)}"
    url = f"s3://{s3.BUCKET}?endpoint=http://{address}"
    importlib.import_module("testcontainers.core.waiting_utils").wait_container_is_ready(RuntimeError)(
        lambda: s3.answers(url, s3.CREDENTIALS) or _not_yet()
    )()
    return _serve("s3", url, container, s3.CREDENTIALS)


def _not_yet() -> bool:
    raise RuntimeError("the S3 server does not answer yet")


def _serve(name: str, url: str, container: Any, environment: dict[str, str] | None = None) -> Server:
    return Server(name, url, "a container", None, environment or {}, container.stop)


_STARTERS: dict[str, Callable[[], Server]] = {"postgres": _postgres, "redis": _redis, "kafka": _kafka, "s3": _s3}
