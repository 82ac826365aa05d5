"""Bytes that cost much to make and are the same for everybody: made in a thread, once for all who ask, then kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Rendered:
    """What `render` makes, kept for `seconds`. Whoever asks while it is being made waits for that. For one event loop.

    `render` runs in a thread.
    """

    def __init__(
        self, render: Callable[[], bytes], seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._render = render
        self._seconds = seconds
        self._monotonic = monotonic
        self._made: tuple[bytes, float] | None = None
        self._making = asyncio.Lock()

    async def get(self) -> bytes:
        """The bytes, no older than `seconds`."""
        async with self._making:
            if self._made is None or self._monotonic() - self._made[1] >= self._seconds:
                self._made = await asyncio.to_thread(self._render), self._monotonic()
            return self._made[0]
