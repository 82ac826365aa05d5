"""uvicorn's HTTP protocol with what it leaves out: deadlines for reading requests and for writing answers, caps on
heads and on pipelines, and problem documents for requests that never become one (docs/reliability.md, H19–H26,
O5).
"""

from __future__ import annotations

import asyncio
import os
import re

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.api import problems
from app.api.envelope import CLOSE
from app.api.live_transport import EXTENSION, LiveTransport
from app.api.problems import Problem, render
from app.api.request_context import DEFAULT_HEADERS, STANDING_HEADERS

UPGRADES = re.compile(rb"/api/v1/recs/[^/?]+/ws(?:\?|$)")
"""Where WebSockets are spoken."""

MAX_HEAD_BYTES = 65_536
"""Received before the headers are complete. The parser itself would collect a header line without end."""

MAX_PIPELINED = 32
"""Requests of one connection that wait for the answers before theirs. What comes after them is not read, and the
connection closes behind the last of them: a client that pipelines sends again what was not answered (RFC 9112 §9.3.2).
"""

MIN_PROGRESS_BYTES = 4_096
"""What a client must take of its answers within `write_seconds`: less is a client that does not read."""


class QuietFlow(FlowControl):
    """uvicorn's flow control; a transport that is gone needs none (uvloop raises for it)."""

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            super().pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            super().resume_reading()


class GuardedProtocol(HttpToolsProtocol):
    """One timer per connection looks now and then whether the client owes us bytes, or we it, for too long."""

    read_seconds = 8.0
    """For the first byte after connecting, for headers to be complete, and for each wait within a body."""

    write_seconds = 8.0
    """How long a client may take nothing of the answers that wait for it."""

    check_seconds = 1.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class
        super().connection_made(transport)
        self.flow = QuietFlow(transport)
        self._owing_since: float | None = self.loop.time()
        self._is_in_head = False
        self._head_bytes = 0
        self._running: RequestResponseCycle | None = None
        self._is_full = False
        self._is_reading_body = False
        self._unsent_bytes = 0
        self._unsent_since = self.loop.time()
        self._watch: asyncio.TimerHandle | None = self.loop.call_later(self.check_seconds, self._look)

    def handle_websocket_upgrade(self) -> None:
        if self._watch is not None:  # what follows on this connection is the other protocol's to watch
            self._watch.cancel()
            self._watch = None
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self.pipeline.clear()
        # `cycle` is the newest request; the one being answered may be an older one, and must hear of it too.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_full or self.transport.is_closing():
            return
        was_in_head = self._is_in_head
        super().data_received(data)
        # The first piece of a head may hold the end of a body before it: only what follows is surely head.
        if was_in_head and self._is_in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(Problem(problems.HEADERS_TOO_LARGE, headers=CLOSE))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0
        self._owing_since = self.loop.time()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._owing_since = self.loop.time()
        if len(self.pipeline) >= MAX_PIPELINED and not self._is_full:
            self._is_full = True
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        if self._is_full or self.transport.is_closing():
            return
        self._is_reading_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._owing_since = self.loop.time()
        if self._is_reading_body:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._owing_since = None  # between requests uvicorn's keep-alive timer watches
        if self._is_reading_body:
            self._is_reading_body = False
            super().on_message_complete()

    def on_response_complete(self) -> None:
        # The answer went out before the request was read whole: what follows on this connection would be its body.
        if self._running is not None and self._running.more_body:
            self.transport.close()
        super().on_response_complete()
        if self._is_full and not self.transport.is_closing():
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem(problems.BAD_REQUEST, headers=CLOSE))

    def _should_upgrade(self) -> bool:
        # Elsewhere the wish is ignored, as RFC 9110 §7.8 allows; behind an answer under way, too.
        is_free = self.cycle is None or self.cycle.response_complete
        return is_free and UPGRADES.match(self.url) is not None and super()._should_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Nobody needs to know."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        live = LiveTransport(self.transport, self.flow.drain)
        cycle.scope["extensions"] = {EXTENSION: {"transport": live}}
        super()._start_asgi_task(cycle, app)

    def _look(self) -> None:
        self._watch = self.loop.call_later(self.check_seconds, self._look)
        if self._is_unread():
            self.transport.abort()
            return
        if self._owing_since is None or self.flow.read_paused or self.transport.is_closing():
            return
        if self.loop.time() - self._owing_since > self.read_seconds:
            self._refuse(Problem(problems.TIMEOUT, headers=CLOSE))

    def resume_writing(self) -> None:
        self._unsent_bytes, self._unsent_since = 0, self.loop.time()
        super().resume_writing()

    def _is_unread(self) -> bool:
        """Whether answers have waited in the transport for too long. Also while it closes: that waits for the rest."""
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if unsent == 0 or self._unsent_bytes == 0 or unsent <= self._unsent_bytes - MIN_PROGRESS_BYTES:
            self._unsent_bytes, self._unsent_since = unsent, now
        return unsent > 0 and now - self._unsent_since > self.write_seconds

    def _refuse(self, problem: Problem) -> None:
        """Answer below the application and close; only close where an answer is under way."""
        running = self._running
        if running is None or running.response_complete or not running.response_started:
            request_id = os.urandom(12).hex()
            headers, body = render(problem, request_id)
            headers += [(b"x-request-id", request_id.encode()), *DEFAULT_HEADERS, *STANDING_HEADERS]
            lines = [name + b": " + value + b"\r\n" for name, value in [*self.server_state.default_headers, *headers]]
            self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body]))
        self.transport.close()
