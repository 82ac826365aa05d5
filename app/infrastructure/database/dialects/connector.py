"""Connections to PostgreSQL that are made to their end, whoever stops waiting for them."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg


class Connector:
    """Makes asyncpg's connections.

    asyncpg 0.31, cancelled while it connects, drops a future with an error nobody has looked at ("Future exception
    was never retrieved", in two of three cancellations). So an attempt goes on, for its own timeout at most, and a
    connection that nobody wants any more is cut off when it is there.
    """

    def __init__(self) -> None:
        self._attempts: set[asyncio.Task[Any]] = set()

    async def connect(self, *arguments: Any, **options: Any) -> Any:
        """What `asyncpg.connect` gives. Raises what it raises; a cancellation at once."""
        attempt = asyncio.ensure_future(asyncpg.connect(*arguments, **options))
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            attempt.add_done_callback(_cut_off)
            raise

    async def close(self) -> None:
        """Wait for the attempts that still go on."""
        if self._attempts:
            await asyncio.wait(self._attempts)


def _cut_off(attempt: asyncio.Task[Any]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()
