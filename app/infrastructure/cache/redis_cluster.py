"""Commands to the nodes of a cluster, by redis-py: within a hard timeout, without hidden retries, behind a breaker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from app.domain.exceptions import CacheUnavailableError
from app.infrastructure.breaker import Breaker
from app.infrastructure.cache.redis_address import RedisAddress
from app.infrastructure.cache.redis_connection import Argument, Command
from app.infrastructure.uninterrupted import ended, uninterrupted

_MAX_CONNECTIONS = 64
"""To each node, and commands at a time: redis-py refuses what has no connection instead of waiting for one."""

_PATIENCE = 10
"""How many timeouts finding the nodes may take: nobody waits for it longer than for an answer."""


class ClusterClient:
    """What `RedisClient` is for one server. A cancelled or late command closes its connection: no answer is left."""

    history = ""

    def __init__(self, address: RedisAddress, scripts: Sequence[str], breaker: Breaker) -> None:
        self._address = address
        self._scripts = scripts
        self._breaker = breaker
        self._cluster: RedisCluster | None = None
        self._opening: asyncio.Task[None] | None = None
        self._closed = False
        self._places = asyncio.Semaphore(_MAX_CONNECTIONS)

    async def connected(self) -> str:
        """There is one history: nothing is known of which node's data replaced another's."""
        return self.history

    async def run(self, *commands: Command, history: str = "") -> Sequence[Any]:
        """The replies, in order, one command after the other. Raises CacheUnavailableError if any has none."""
        if self._closed or not self._breaker.admits():
            raise CacheUnavailableError("the cache is not asked while it fails")
        try:
            async with asyncio.timeout(self._address.timeout_seconds), self._places:
                cluster = self._cluster or await self._opened()
                replies = [await self._ask(cluster, command) for command in commands]
        except (OSError, TimeoutError, RedisError) as exc:
            self._breaker.failed()
            raise CacheUnavailableError("the cache refused or did not answer in time") from exc
        self._breaker.succeeded()
        return replies

    async def scan(self, count: int) -> AsyncIterator[Sequence[bytes]]:
        """As `RedisClient.scan`, of all primaries."""
        await self.run(("PING",))  # the nodes are known then
        assert self._cluster is not None
        for node in self._cluster.get_primaries():
            cursor = 0
            while True:
                try:
                    async with asyncio.timeout(self._address.timeout_seconds), self._places:
                        cursor, keys = await node.execute_command("SCAN", cursor, "COUNT", count)
                except (OSError, TimeoutError, RedisError) as exc:
                    self._breaker.failed()
                    raise CacheUnavailableError("the cache refused or did not answer in time") from exc
                yield keys
                if not int(cursor):
                    break

    async def close(self) -> None:
        """Close all connections; later calls raise CacheUnavailableError."""
        self._closed = True
        await uninterrupted(self._close())

    async def _close(self) -> None:
        await ended(self._opening, timeout_seconds=self._address.timeout_seconds)
        if self._cluster is not None:
            await self._cluster.aclose()
        await asyncio.sleep(0)

    async def _ask(self, cluster: RedisCluster, command: Command) -> Any:
        if command[0] == "UNLINK":
            return await _unlink(cluster, command[1:])
        try:
            return await cluster.execute_command(*command)
        except NoScriptError:  # a node that was started anew, or joined
            await self._load_scripts(cluster)
            return await cluster.execute_command(*command)

    async def _load_scripts(self, cluster: RedisCluster) -> None:
        for script in self._scripts:
            await cluster.execute_command("SCRIPT LOAD", script, target_nodes=RedisCluster.PRIMARIES)

    async def _opened(self) -> RedisCluster:
        """Whoever comes while the nodes are being found waits for that; being cancelled does not stop it."""
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._opening)
        assert self._cluster is not None
        return self._cluster

    async def _open(self) -> None:
        cluster = _cluster(self._address)
        try:
            async with asyncio.timeout(self._address.timeout_seconds * _PATIENCE):
                await cluster.initialize()
                await self._load_scripts(cluster)
        except BaseException:
            await uninterrupted(cluster.aclose())
            raise
        self._cluster = cluster


def _cluster(address: RedisAddress) -> RedisCluster:
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],
        username=address.username,
        password=address.password,
        **address.tls_options(),
        client_name="encore",
        protocol=2,
        socket_timeout=address.timeout_seconds,
        socket_connect_timeout=address.timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        max_connections=_MAX_CONNECTIONS,
        require_full_coverage=False,  # users of the nodes that are there have their lists
    )


async def _unlink(cluster: RedisCluster, keys: Sequence[Argument]) -> int:
    """Each key where it is, all nodes at once."""
    pipeline = cluster.pipeline()
    for key in keys:
        pipeline.execute_command("UNLINK", key)
    return sum(await pipeline.execute())
