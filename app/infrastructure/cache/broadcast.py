"""Invalidation messages within one process: every listener gets every message, or is told that it lost some."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

MAX_WAITING = 10_000
"""Messages a slow listener may leave waiting before they are replaced by one "drop everything"."""


class Broadcast:
    """User ids to all present listeners. Sending never blocks; a listener who falls behind gets one None instead."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._waiting: set[_Waiting] = set()

    def send(self, user_ids: Collection[str | None]) -> None:
        """Hand out user ids; None among them means "drop everything"."""
        for waiting in self._waiting:
            waiting.add(user_ids, self._max_waiting)

    async def listen(self) -> AsyncIterator[str | None]:
        """User ids from now on. The first message is None: whatever was sent before is lost to this listener."""
        waiting = _Waiting()
        self._waiting.add(waiting)
        try:
            while not waiting.closed or waiting.messages:
                for message in await waiting.take():
                    yield message
        finally:
            self._waiting.discard(waiting)

    def close(self) -> None:
        """End every listener after the messages it still has."""
        for waiting in self._waiting:
            waiting.closed = True
            waiting.arrived.set()


class _Waiting:
    """What one listener has not taken yet; a dictionary for its order and its distinct keys."""

    __slots__ = ("arrived", "closed", "messages")

    def __init__(self) -> None:
        self.messages: dict[str | None, None] = {None: None}
        self.arrived = asyncio.Event()
        self.arrived.set()
        self.closed = False

    def add(self, user_ids: Collection[str | None], max_waiting: int) -> None:
        self.messages.update(dict.fromkeys(user_ids))
        if len(self.messages) > max_waiting or None in self.messages:
            self.messages = {None: None}
        self.arrived.set()

    async def take(self) -> tuple[str | None, ...]:
        await self.arrived.wait()
        taken = tuple(self.messages)
        self.messages = {}
        if not self.closed:
            self.arrived.clear()
        return taken
