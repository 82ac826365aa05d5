"""Commands to Redis within a hard timeout, without hidden retries, behind a breaker."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from opentelemetry.trace import SpanKind

from app.domain.exceptions import CacheUnavailableError
from app.infrastructure.breaker import Breaker
from app.infrastructure.cache.redis_address import CLUSTER, SENTINEL, SINGLE, RedisAddress
from app.infrastructure.cache.redis_connection import Command, ConnectionLostError, RedisConnection
from app.infrastructure.uninterrupted import ended, uninterrupted
from app.spans import span

_DATABASE = {"db.system.name": "redis"}

_TLS_PATIENCE = 10
"""TLS needs several round trips and some processor time on both sides."""

_HISTORY_CHARACTERS = 12
"""Of forty random ones."""

_OUTDATED = ("NOSCRIPT", "READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "NOAUTH")
"""Error replies after which another connection may do better: it loads the scripts and may reach another server."""


async def connect(
    address: RedisAddress,
    preparation: Sequence[Command] = (),
    *,
    on_message: Callable[[bytes], None] | None = None,
    on_lost: Callable[[], None] | None = None,
) -> RedisConnection:
    """Open, authenticate, choose the database and run `preparation`. Raises OSError or ConnectionLostError.

    Where Sentinel names the server, it must be a primary by its own account too, and the connection knows whose data
    it serves (`history`). Of a cluster it is any node.
    """
    host, port = await _place(address)
    connection = RedisConnection(address.timeout_seconds, on_message=on_message, on_lost=on_lost)
    secure = ssl.create_default_context() if address.is_tls else None
    commands: list[Command] = [("SELECT", address.database), ("CLIENT", "SETNAME", "encore")]
    if address.password is not None:
        commands.insert(0, ("AUTH", address.username or "default", address.password))
    try:
        async with asyncio.timeout(address.timeout_seconds * (_TLS_PATIENCE if secure else 1)):
            await asyncio.get_running_loop().create_connection(lambda: connection, host, port, ssl=secure)
        await _sent(connection, commands)
        if address.kind == SENTINEL:
            connection.history = await _history(connection)
        await _sent(connection, preparation)
    except BaseException:
        connection.close()
        raise
    return connection


async def _sent(connection: RedisConnection, commands: Sequence[Command]) -> None:
    for future in connection.send(commands):
        _raise_if_bad(await future)


async def _place(address: RedisAddress) -> tuple[str, int]:
    if address.kind == SINGLE:
        return address.nodes[0]
    if address.kind == CLUSTER:
        return random.choice(address.nodes)  # noqa: S311 - spreads listeners, no secret
    # imported here: one server needs no general client
    from app.infrastructure.cache.redis_sentinel import find_primary

    return await find_primary(address)


async def _history(connection: RedisConnection) -> str:
    """The replication id of a primary, which changes when a replica takes over. Raises ConnectionLostError for others.

    Replication is asynchronous: what takes over may lack the last bumps and hold lists that were made before them. Keys
    of another history are never looked at.
    """
    [asked] = connection.send([("INFO", "replication")])
    reply = await asked
    _raise_if_bad(reply)
    facts = dict(line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)
    if facts.get("role") != "master":
        raise ConnectionLostError("not a primary")
    return f"{facts['master_replid'][:_HISTORY_CHARACTERS]}:"


def _raise_if_bad(reply: Any) -> None:
    if isinstance(reply, ConnectionLostError):
        raise reply
    if isinstance(reply, hiredis.ReplyError):
        # Only the code word: the rest of the text may quote keys.
        raise ConnectionLostError(str(reply).partition(" ")[0])


def _check(connection: RedisConnection, history: str | None) -> None:
    if history is not None and connection.history != history:
        raise ConnectionLostError("another history")


class RedisClient:
    """One shared connection, opened when it is first needed and again after it was lost."""

    def __init__(self, address: RedisAddress, preparation: Sequence[Command], breaker: Breaker) -> None:
        self._address = address
        self._preparation = preparation
        self._breaker = breaker
        self._connection: RedisConnection | None = None
        self._opening: asyncio.Task[RedisConnection] | None = None
        self._closed = False
        self._patience = address.timeout_seconds * (_TLS_PATIENCE if address.is_tls else 2)

    @property
    def history(self) -> str | None:
        """Whose data the present connection serves, as a prefix of keys; None where that is not known."""
        if self._address.kind != SENTINEL:
            return ""
        connection = self._connection
        return None if connection is None or connection.is_lost else connection.history

    async def connected(self) -> str:
        """`history`, of a new connection if need be. Raises CacheUnavailableError."""
        await self.run(("PING",))
        history = self.history
        if history is None:
            raise CacheUnavailableError("the cache refused or did not answer in time")
        return history

    async def run(self, *commands: Command, history: str | None = None) -> Sequence[Any]:
        """The replies, in order, to commands sent in one write. Raises CacheUnavailableError if any has none.

        And if the server is not one of that `history`, which the keys in the commands were made for.
        """
        if self._closed or not self._breaker.admits():
            raise CacheUnavailableError("the cache is not asked while it fails")
        try:
            connection = self._connection
            if connection is None or connection.is_lost:
                connection = await self._open()
            _check(connection, history)
            with span(str(commands[0][0]), SpanKind.CLIENT, _DATABASE):  # keys are left out: they name people
                replies = [await future for future in connection.send(commands)]
            for reply in replies:
                self._replace_if_outdated(reply, connection)
                _raise_if_bad(reply)
        except (OSError, TimeoutError, ConnectionLostError) as exc:
            self._breaker.failed()
            raise CacheUnavailableError("the cache refused or did not answer in time") from exc
        self._breaker.succeeded()
        return replies

    async def close(self) -> None:
        """Close the connection; later calls raise CacheUnavailableError."""
        self._closed = True
        await uninterrupted(self._close())

    async def _close(self) -> None:
        await ended(self._opening, timeout_seconds=self._address.timeout_seconds)
        if self._connection is not None:
            self._connection.close()
        await asyncio.sleep(0)  # sockets are closed in the next turn of the loop; there may be none after this

    async def _open(self) -> RedisConnection:
        """Whoever comes while a connection is being opened waits for that one; being cancelled does not stop it."""
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(connect(self._address, self._preparation))
            self._opening.add_done_callback(self._opened)
        # who waits is not held by sentinels that are silent: those who ask later have the connection
        async with asyncio.timeout(self._patience):
            return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Task[RedisConnection]) -> None:
        """Here and not where it is waited for: every waiter may have been cancelled by then."""
        if not opening.cancelled() and opening.exception() is None:
            self._connection = opening.result()
            if self._closed:
                self._connection.close()

    def _replace_if_outdated(self, reply: Any, connection: RedisConnection) -> None:
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith(_OUTDATED):
            connection.retire()
            if self._connection is connection:
                self._connection = None
