"""Where a server comes from: its address in the environment → a container → a process from wheels and packages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from tests.servers import s3
from tests.servers.containers import start_container
from tests.servers.kafka import start_kafka
from tests.servers.postgres import start_postgres
from tests.servers.process import ServerMissingError
from tests.servers.redis import start_redis
from tests.servers.s3 import start_s3
from tests.servers.server import Server

START: Mapping[str, Callable[[], Server]] = {
    "postgres": start_postgres,
    "redis": start_redis,
    "kafka": start_kafka,
    "s3": start_s3,
}


def variable(name: str) -> str:
    """The environment variable that holds an address of this server."""
    return f"ENCORE_TEST_{name.upper()}_URL"


def obtain(name: str) -> Server:
    """The first way that works. Raises ServerMissingError, or ServerFailedError if the last way is broken."""
    if url := os.environ.get(variable(name)):
        given = {key: os.environ[key] for key in s3.CREDENTIALS if key in os.environ} if name == "s3" else {}
        return Server(name, url, "the environment", None, given)
    try:
        return start_container(name)
    except ServerMissingError:
        return START[name]()


class Fleet:
    """Servers that start in the background, all at once, each when it is first named."""

    def __init__(self) -> None:
        self._starters = ThreadPoolExecutor(max_workers=len(START))
        self._servers: dict[str, Future[Server]] = {}

    def begin(self, names: Iterable[str]) -> None:
        """Start these in the background."""
        for name in names:
            if name not in self._servers:
                self._servers[name] = self._starters.submit(obtain, name)

    def get(self, name: str) -> Server:
        """The running server; waits for it, raises what its start raised."""
        self.begin([name])
        return self._servers[name].result()

    def is_starting(self) -> bool:
        """True while one is not up yet, and has not failed."""
        return not all(one.done() for one in self._servers.values())

    def stop(self) -> None:
        """Stop all, at once."""
        wait(self._servers.values())
        ended = [self._starters.submit(one.result().stop) for one in self._servers.values() if one.exception() is None]
        wait(ended)
        self._starters.shutdown()
        for one in ended:
            one.result()
