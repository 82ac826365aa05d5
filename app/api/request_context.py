"""One request and its answer: what middleware, routes and the fast lane know of it, and the headers all answers get."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from app.api.envelope import CLOSE, EnvelopeLimits, declared_length, has_body
from app.api.limits import Bodies, ConcurrencyLimiter, Sender, quota_headers
from app.api.problems import Problem, render
from app.api.security import Principal
from app.domain.interfaces import CacheReply, RateLimitStatus

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
SWITCHING = 101
"""What is counted for a connection that became a WebSocket."""

STANDING_HEADERS: Sequence[tuple[bytes, bytes]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"Authorization, X-API-Key"),
)
"""On every answer. `Vary` because the same address answers each caller differently."""

DEFAULT_HEADERS: Sequence[tuple[bytes, bytes]] = (
    (b"cache-control", b"private, no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""On every answer that does not bring its own."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Caps on one request. `bulk_paths` get the larger body cap; `person_batch_bytes` where a policy says so."""

    max_body_bytes: int
    max_bulk_body_bytes: int
    bulk_paths: Collection[str]
    person_batch_bytes: int
    deadline_seconds: float
    envelope: EnvelopeLimits


@dataclass(slots=True)
class RequestContext:
    """What is known about the request being answered."""

    request_id: str
    principal: Principal | None = None
    address: str = "unknown"
    quota: RateLimitStatus | None = None
    reply: CacheReply | None = None
    is_uncounted: bool = False
    standing: Sequence[tuple[bytes, bytes]] = STANDING_HEADERS
    """STANDING_HEADERS, or what pages of other origins get in their place (cors.py)."""


def exchange_of(scope: Scope) -> Exchange:
    """The exchange of an ASGI scope that has passed the boundary."""
    exchange: Exchange = scope["state"]["exchange"]
    return exchange


def bounds_of(scope: Scope) -> RequestLimits:
    """The bounds that the boundary of this scope keeps."""
    bounds: RequestLimits = scope["state"]["bounds"]
    return bounds


def request_context_of(scope: Scope) -> RequestContext:
    """The call of an ASGI scope that has passed the boundary."""
    call: RequestContext = scope["state"]["call"]
    return call


def request_id_from(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The caller's own request id if it is harmless, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode("ascii")
    return os.urandom(12).hex()


def common_headers(call: RequestContext) -> list[tuple[bytes, bytes]]:
    """The headers that every answer to this call gets."""
    headers = [(b"x-request-id", call.request_id.encode()), *call.standing]
    return headers if call.quota is None else headers + quota_headers(call.quota)


class BodyTooLargeError(HTTPException):
    """More bytes than the cap came in, or are announced."""

    def __init__(self) -> None:
        super().__init__(413)


class ClientGoneError(Exception):
    """The client hung up before its request was whole: there is nobody to answer."""


class Exchange:
    """Receives a body whole and sends with our headers; holds the request's place while there is work to do for it.

    A place is for work: it is taken when the body is there, and given back before the answer is written, so that
    neither a client that sends slowly nor one that does not read holds it.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, call: RequestContext, max_body_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._call = call
        self.is_head = scope["method"] == "HEAD"
        self._max_body_bytes = max_body_bytes
        self._declared = declared_length(scope["headers"])
        self._admission: ConcurrencyLimiter | None = None
        self._deadline: asyncio.Timeout | None = None
        self._body: bytes | None = None
        self.has_body = has_body(scope["headers"])
        self.status = 0
        self.is_receiving = False
        self.is_stream = False
        """Set by answers that stay open: their length says nothing about the service."""

    def limit(self, max_body_bytes: int) -> None:
        """A smaller cap on the body. Raises BodyTooLargeError if more is announced."""
        self._max_body_bytes = min(self._max_body_bytes, max_body_bytes)
        if self._declared > self._max_body_bytes:
            raise BodyTooLargeError

    def within(self, seconds: float) -> asyncio.Timeout:
        """The deadline of the work: begins anew when the body is there, ends when the answer is."""
        self._deadline = asyncio.timeout(seconds)
        return self._deadline

    async def admit(self, admission: ConcurrencyLimiter, is_user_read: bool) -> None:
        """Take a place. Raises OverloadedError."""
        await admission.enter(is_user_read)
        self._admission = admission

    def release(self) -> None:
        """The work is done: give the place back, if there is one; the deadline is over, too."""
        self._deadline = None
        if self._admission is not None:
            self._admission.leave()
            self._admission = None

    async def take_body(self, bodies: Bodies, sender: Sender, deadline_seconds: float) -> None:
        """Wait until the whole body is there; `receive` hands it out afterwards.

        Raises BodyTooLargeError as soon as the cap is passed, RateLimitedError or OverloadedError where too many bodies
        are under way, ClientGoneError.
        """
        parts = [await self._part()]
        if self.is_receiving:
            with bodies.under_way(sender) as incoming:
                incoming.grow(len(parts[0]))
                while self.is_receiving:
                    parts.append(await self._part())
                    incoming.grow(len(parts[-1]))
        self._body = b"".join(parts)
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time() + deadline_seconds)

    async def _part(self) -> bytes:
        self.is_receiving = True
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        self.is_receiving = bool(message.get("more_body"))
        part: bytes = message.get("body", b"")
        self._max_body_bytes -= len(part)
        if self._max_body_bytes < 0:
            raise BodyTooLargeError
        return part

    async def receive(self) -> Message:
        """The whole body, once; then the end of the connection."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        self.has_body = False
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Pass the answer on; the start of it gets our headers, a HEAD gets no body."""
        if message["type"] == "http.response.start":
            self._started(message["status"])
            message = {**message, "headers": self._completed(message["headers"])}
        elif message["type"] == "websocket.accept":
            self._started(SWITCHING)
        elif self.is_head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def _started(self, status: int) -> None:
        self.status = status
        if self._deadline is not None:  # how long writing may take is the transport's to say
            self._deadline.reschedule(None)
        self.release()

    def _completed(self, headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        present = {name for name, _ in headers}
        ours = [*DEFAULT_HEADERS, *common_headers(self._call)]
        if self.has_body and self._body is None:  # not read: it would be taken for the next request
            ours += CLOSE
        return [*headers, *(header for header in ours if header[0] not in present)]

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless an answer is under way already."""
        if self.status:
            return
        headers, body = render(problem, self._call.request_id)
        await self.answer(problem.status, headers, body)


def state_of(scope: Scope) -> Any:
    """The application's state object: the gateway is in it once the application has started."""
    return scope["app"].state
