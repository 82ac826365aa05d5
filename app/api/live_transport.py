"""What the server offers to answers that stay open: to know when the reader has taken all, and when it is gone.

The protocols put it into the scope (`extensions`, as the ASGI specification provides for); a server without it has
none of these guards, which only tests are.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import Scope

EXTENSION = "encore.live"

SEND_BUFFER_BYTES = 32_768
"""Of the kernel, which doubles it: what a reader that does not read can make wait, some ten lists."""

UNACKNOWLEDGED_MS = 20_000
"""After so long without an acknowledgement (or with a closed window) the kernel gives the connection up (RFC 5482)."""

MAX_UNSENT_BYTES = 262_144
"""What may wait for a peer that only makes us answer (pings)."""


@dataclass(frozen=True, slots=True)
class LiveTransport:
    """`drained` waits until nothing of what was sent is left in this process, or the reader is gone."""

    transport: asyncio.Transport
    drained: Callable[[], Awaitable[None]]

    def stay_open(self) -> None:
        """From now on small buffers: what waits in them would be old when it is read."""
        self.transport.set_write_buffer_limits(high=0)
        connection: socket.socket | None = self.transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)


def live_transport_of(scope: Scope) -> LiveTransport | None:
    """What the server offers for this scope."""
    found: LiveTransport | None = scope.get("extensions", {}).get(EXTENSION, {}).get("transport")
    return found
