"""uvicorn's WebSocket protocol, guarded like its HTTP protocol (protocol.py)."""

from __future__ import annotations

import asyncio
import logging
from asyncio.transports import BaseTransport
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.api.live_transport import EXTENSION, MAX_UNSENT_BYTES, LiveTransport
from app.api.request_context import SWITCHING

_QUIET = logging.getLogger("encore.websockets")
_QUIET.setLevel(logging.WARNING)  # uvicorn's own logger tells whose list it is


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol with what it leaves out: a deadline for who takes nothing, a cap on what it is owed."""

    write_seconds = 8.0
    check_seconds = 1.0

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.logger = _QUIET
        self._unsent_since = self.loop.time()
        self._unsent_bytes = 0
        self._watch: asyncio.TimerHandle | None = self.loop.call_later(self.check_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.abort()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.response.status_code == SWITCHING:  # else it was refused, and there is no scope
            live = LiveTransport(self.transport, self.writable_again)
            self.scope["extensions"] = {**(self.scope["extensions"] or {}), EXTENSION: {"transport": live}}

    async def writable_again(self) -> None:
        """Until what was sent has left this process, or the reader is gone."""
        await self.writable.wait()

    def _look(self) -> None:
        self._watch = self.loop.call_later(self.check_seconds, self._look)
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent_bytes:
            self._unsent_since = self.loop.time()
        self._unsent_bytes = unsent
        if unsent and self.loop.time() - self._unsent_since > self.write_seconds:
            self.transport.abort()
