"""uvicorn's HTTP protocol with what it leaves out: a deadline for reading requests, a cap on their head, and problem
documents for requests that never become one (reliability bars H19–H26, O5).
"""

from __future__ import annotations

import asyncio
import os

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api import problems
from app.api.envelope import CLOSE
from app.api.problems import Problem, render
from app.api.request_context import DEFAULT_HEADERS, STANDING_HEADERS

MAX_HEAD_BYTES = 65_536
"""Received before the headers are complete. The parser itself would collect a header line without end."""


class GuardedProtocol(HttpToolsProtocol):
    """One timer per connection looks now and then whether the client owes us something for too long."""

    read_seconds = 8.0
    """For the first byte after connecting, for headers to be complete, and for each wait within a body."""

    check_seconds = 1.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class
        super().connection_made(transport)
        self._owing_since: float | None = self.loop.time()
        self._is_in_head = False
        self._head_bytes = 0
        self._watch: asyncio.TimerHandle | None = self.loop.call_later(self.check_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
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
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._owing_since = self.loop.time()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._owing_since = None  # between requests uvicorn's keep-alive timer watches
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem(problems.BAD_REQUEST, headers=CLOSE))

    def _look(self) -> None:
        self._watch = self.loop.call_later(self.check_seconds, self._look)
        if self._owing_since is None or self.flow.read_paused or self.transport.is_closing():
            return
        if self.loop.time() - self._owing_since > self.read_seconds:
            self._refuse(Problem(problems.TIMEOUT, headers=CLOSE))

    def _refuse(self, problem: Problem) -> None:
        """Answer below the application and close; only close where an answer is under way."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            request_id = os.urandom(12).hex()
            headers, body = render(problem, request_id)
            headers += [(b"x-request-id", request_id.encode()), *DEFAULT_HEADERS, *STANDING_HEADERS]
            lines = [name + b": " + value + b"\r\n" for name, value in [*self.server_state.default_headers, *headers]]
            self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body]))
        self.transport.close()
