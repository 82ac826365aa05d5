"""Invalidations from every process, over a subscription that is watched and renewed."""

from __future__ import annotations

import asyncio
import json
import random

from app.infrastructure.cache.broadcast import Broadcast
from app.infrastructure.cache.redis_address import RedisAddress
from app.infrastructure.cache.redis_client import connect
from app.infrastructure.cache.redis_connection import ConnectionLostError, RedisConnection

_PING_SECONDS = 1.0
"""A frozen server sends nothing: asking regularly is the only way to tell that from silence."""
_MAX_PAUSE_SECONDS = 2.0


class RedisListener:
    """One subscription for all listeners of this process; `broadcast` hands the messages out.

    Before a gap (the connection is lost) and after it (subscribed again) listeners get None: what they hold may be old.
    """

    def __init__(self, address: RedisAddress, channel: str, broadcast: Broadcast) -> None:
        self._address = address
        self._channel = channel
        self._broadcast = broadcast
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    async def started(self) -> None:
        """Return once the first subscription stands (or `close` was called)."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow())
        await self._ready.wait()

    async def close(self) -> None:
        """Stop listening; whoever waits in `started` returns."""
        self._ready.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        pause = 0.05
        while True:
            connection: RedisConnection | None = None
            try:
                connection = await connect(self._address, [("SUBSCRIBE", self._channel)], on_message=self._receive)
                self._broadcast.send((None,))
                self._ready.set()
                pause = 0.05
                await self._watch(connection)
            except (OSError, TimeoutError, ConnectionLostError):
                self._broadcast.send((None,))
            finally:
                if connection is not None:
                    connection.close()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)

    async def _watch(self, connection: RedisConnection) -> None:
        """Ask for a sign of life until none comes."""
        while True:
            await asyncio.sleep(_PING_SECONDS)
            [answer] = connection.send([("PING",)])
            if isinstance(await answer, Exception):
                raise ConnectionLostError

    def _receive(self, payload: bytes) -> None:
        try:
            user_ids = [str(user_id) for user_id in json.loads(payload)]
        except (ValueError, TypeError):
            self._broadcast.send((None,))  # not ours, or damaged: anything may have changed
        else:
            self._broadcast.send(user_ids)
