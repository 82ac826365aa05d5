"""Commands to Redis within a hard timeout, without hidden retries, behind a breaker."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from app.domain.exceptions import CacheUnavailableError
from app.infrastructure.breaker import Breaker
from app.infrastructure.cache.redis_address import RedisAddress
from app.infrastructure.cache.redis_connection import Command, ConnectionLostError, RedisConnection

_OUTDATED = ("NOSCRIPT", "READONLY", "LOADING", "MASTERDOWN", "NOAUTH")
"""Error replies after which another connection may do better: it loads the scripts and may reach another server."""


async def connect(
    address: RedisAddress,
    preparation: Sequence[Command] = (),
    *,
    on_message: Callable[[bytes], None] | None = None,
    on_lost: Callable[[], None] | None = None,
) -> RedisConnection:
    """Open, authenticate, choose the database and run `preparation`. Raises OSError or ConnectionLostError."""
    connection = RedisConnection(address.timeout_seconds, on_message=on_message, on_lost=on_lost)
    secure = ssl.create_default_context() if address.is_tls else None
    commands: list[Command] = [("SELECT", address.database), ("CLIENT", "SETNAME", "encore"), *preparation]
    if address.password is not None:
        commands.insert(0, ("AUTH", address.username or "default", address.password))
    try:
        # TLS needs several round trips and some CPU time on both sides.
        async with asyncio.timeout(address.timeout_seconds * (10 if secure else 1)):
            await asyncio.get_running_loop().create_connection(
                lambda: connection, address.host, address.port, ssl=secure
            )
        for future in connection.send(commands):
            _raise_if_bad(await future)
    except BaseException:
        connection.close()
        raise
    return connection


def _raise_if_bad(reply: Any) -> None:
    if isinstance(reply, ConnectionLostError):
        raise reply
    if isinstance(reply, hiredis.ReplyError):
        # Only the code word: the rest of the text may quote keys.
        raise ConnectionLostError(str(reply).partition(" ")[0])


class RedisClient:
    """One shared connection, opened when it is first needed and again after it was lost."""

    def __init__(self, address: RedisAddress, preparation: Sequence[Command], breaker: Breaker) -> None:
        self._address = address
        self._preparation = preparation
        self._breaker = breaker
        self._connection: RedisConnection | None = None
        self._opening: asyncio.Task[RedisConnection] | None = None
        self._closed = False

    async def run(self, *commands: Command) -> Sequence[Any]:
        """The replies, in order, to commands sent in one write. Raises CacheUnavailableError if any has none."""
        if self._closed or not self._breaker.admits():
            raise CacheUnavailableError("the cache is not asked while it fails")
        try:
            connection = self._connection
            if connection is None or connection.is_lost:
                connection = await self._open()
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
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._connection is not None:
            self._connection.close()
        await asyncio.sleep(0)  # sockets are closed in the next turn of the loop; there may be none after this

    async def _open(self) -> RedisConnection:
        """Whoever comes while a connection is being opened waits for that one; being cancelled does not stop it."""
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(connect(self._address, self._preparation))
            # Look at the outcome here too: every waiter may have been cancelled by then.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._connection = await asyncio.shield(self._opening)
        return self._connection

    def _replace_if_outdated(self, reply: Any, connection: RedisConnection) -> None:
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith(_OUTDATED):
            connection.retire()
            if self._connection is connection:
                self._connection = None
