"""One pipelining connection to Redis: commands go out as they come, replies are matched to them by their order.

A pool gives each command a connection of its own and pays for it in locks and wake-ups; sharing one connection makes
a cached list about 1.5 times cheaper (docs/adr/0010). Cancelling a caller cannot mix up answers: its place in
the queue stays, and the reply that comes for it is thrown away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

Argument = str | bytes | int
Command = tuple[Argument, ...]

MAX_IN_FLIGHT = 1_000
_GRACE_SECONDS = 0.005
"""After a stall of our own loop the timer may run before the replies are read that have long arrived."""
_INCOMPLETE = object()


class ConnectionLostError(Exception):
    """The connection is gone, or must be given up because its answer is overdue."""


class RedisConnection(asyncio.Protocol):
    """RESP2 over one transport. `on_message` gets the payload of each published message (subscribers only).

    Give it up once the oldest unanswered command is older than `timeout_seconds`: all that wait get
    ConnectionLostError, and so does every later `send`. Replies, error replies and losses are results of the futures,
    never their exceptions, so that a future nobody looks at any more does not complain.
    """

    def __init__(
        self,
        timeout_seconds: float,
        *,
        on_message: Callable[[bytes], None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._timeout = timeout_seconds
        self._on_message = on_message
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._unsent: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._suspect: asyncio.Future[Any] | None = None
        self._is_retired = False
        self.is_lost = False
        self.history = ""

    @property
    def in_flight(self) -> int:
        """Commands without a reply yet, cancelled ones included."""
        return len(self._waiting)

    def send(self, commands: Sequence[Command]) -> list[asyncio.Future[Any]]:
        """Queue commands for the next write; one future each. Raises ConnectionLostError if it cannot take them."""
        if self.is_lost or len(self._waiting) + len(commands) > MAX_IN_FLIGHT:
            raise ConnectionLostError
        if not self._unsent:
            # All commands of this turn of the loop leave in one system call.
            self._loop.call_soon(self._flush)
        now = self._loop.time()
        futures = []
        for command in commands:
            self._unsent.append(hiredis.pack_command(command))  # type: ignore[arg-type] # its stub wants one type for all
            future = self._loop.create_future()
            self._waiting.append((future, now))
            futures.append(future)
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout, self._check)
        return futures

    def retire(self) -> None:
        """Close as soon as nobody waits any more."""
        self._is_retired = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Close at once; whoever waits gets ConnectionLostError."""
        self.is_lost = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future, _sent = self._waiting.popleft()
            if not future.done():
                future.set_result(ConnectionLostError())

    # ── called by the event loop ─────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self.is_lost:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                self._settle(reply)
        except hiredis.ProtocolError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()
        if self._on_lost is not None:
            self._on_lost()

    def _settle(self, reply: Any) -> None:
        if self._on_message is not None and isinstance(reply, list) and reply[0] == b"message":
            self._on_message(reply[2])
            return
        if not self._waiting:
            self.close()  # a reply nobody asked for: from here on nothing could be matched
            return
        future, _sent = self._waiting.popleft()
        if not future.done():
            future.set_result(reply)
        if self._is_retired:
            self.retire()

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if not self.is_lost and self._transport is not None:
            self._transport.write(b"".join(unsent))

    def _check(self) -> None:
        """One timer for all: the oldest command is always the first to be overdue."""
        self._watch = None
        if not self._waiting:
            return
        oldest, sent = self._waiting[0]
        left = sent + self._timeout - self._loop.time()
        if left <= 0 and self._suspect is oldest:
            self.close()
            return
        self._suspect = oldest if left <= 0 else None
        self._watch = self._loop.call_later(max(left, _GRACE_SECONDS), self._check)
