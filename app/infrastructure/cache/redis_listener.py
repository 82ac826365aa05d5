"""Invalidations from every process, over a subscription that is watched and renewed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random

from app.infrastructure.cache.broadcast import Broadcast
from app.infrastructure.cache.redis_address import RedisAddress
from app.infrastructure.cache.redis_client import connect
from app.infrastructure.cache.redis_connection import ConnectionLostError, RedisConnection
from app.infrastructure.uninterrupted import ended, uninterrupted

_PING_SECONDS = 1.0
"""A frozen server sends nothing: asking regularly is the only way to tell that from silence."""
_MIN_PAUSE_SECONDS = 0.05
_MAX_PAUSE_SECONDS = 2.0


class RedisListener:
    """One subscription for all listeners of this process; `broadcast` hands the messages out.

    After a gap (subscribed again) listeners get None: what they hold may be old. Not before: while nothing is heard,
    what would be made anew would be as old as soon.
    """

    def __init__(self, address: RedisAddress, channel: str, broadcast: Broadcast) -> None:
        self._address = address
        self._channel = channel
        self._broadcast = broadcast
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._ready = asyncio.Event()

    async def started(self) -> bool:
        """Wait for the first subscription; False if `close` was called first."""
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._follow())
        await self._ready.wait()
        return not self._closed

    async def close(self) -> None:
        """Stop listening; whoever waits in `started` returns."""
        self._closed = True
        self._ready.set()
        await uninterrupted(self._close())

    async def _close(self) -> None:
        await ended(self._task, timeout_seconds=self._address.timeout_seconds)
        await asyncio.sleep(0)  # its socket is closed in the next turn of the loop

    async def _follow(self) -> None:
        pause = _MIN_PAUSE_SECONDS
        while True:
            try:
                await self._subscription()
                pause = _MIN_PAUSE_SECONDS
            except (OSError, TimeoutError, ConnectionLostError):
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    async def _subscription(self) -> None:
        """Subscribe, hand out what comes, return when the connection is gone."""
        gone = asyncio.Event()
        subscribe = ("SUBSCRIBE", self._channel)
        connection = await connect(self._address, [subscribe], on_message=self._receive, on_lost=gone.set)
        try:
            self._broadcast.send((None,))
            self._ready.set()
            await _watch(connection, gone)
        finally:
            connection.close()

    def _receive(self, payload: bytes) -> None:
        try:
            user_ids = [str(user_id) for user_id in json.loads(payload)]
        except (ValueError, TypeError):
            self._broadcast.send((None,))  # not ours, or damaged: anything may have changed
        else:
            self._broadcast.send(user_ids)


async def _watch(connection: RedisConnection, gone: asyncio.Event) -> None:
    """Ask for a sign of life regularly; return when none comes or the connection is lost."""
    while not gone.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PING_SECONDS):
                await gone.wait()
        if gone.is_set():
            return
        [answer] = connection.send([("PING",)])
        if isinstance(await answer, Exception):
            return
