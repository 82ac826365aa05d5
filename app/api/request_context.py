"""One request and its answer: what middleware, routes and the fast lane know of it, and the headers all answers get."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from app.api.limits import quota_headers
from app.api.problems import Problem, render
from app.api.security import Principal
from app.domain.interfaces import CacheReply, RateLimitStatus

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
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


@dataclass(slots=True)
class RequestContext:
    """What is known about the request being answered."""

    request_id: str
    principal: Principal | None = None
    quota: RateLimitStatus | None = None
    reply: CacheReply | None = None
    is_uncounted: bool = False


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
    headers = [(b"x-request-id", call.request_id.encode()), *STANDING_HEADERS]
    return headers if call.quota is None else headers + quota_headers(call.quota)


class BodyTooLargeError(HTTPException):
    """More bytes than the cap came in; the framework lets HTTP errors through where it would wrap others."""

    def __init__(self) -> None:
        super().__init__(413)


class Exchange:
    """Receives within the body cap and sends with our headers; remembers how far it got."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, call: RequestContext, max_body_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._call = call
        self._is_head = scope["method"] == "HEAD"
        self._left = max_body_bytes
        self.status = 0
        self.is_receiving = False

    async def receive(self) -> Message:
        """The next part of the body. Raises BodyTooLargeError as soon as the cap is passed."""
        self.is_receiving = True
        message = await self._receive()
        self.is_receiving = bool(message.get("more_body"))
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise BodyTooLargeError
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on; the start of it gets our headers, a HEAD gets no body."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._completed(message["headers"])}
        elif self._is_head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def _completed(self, headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        present = {name for name, _ in headers}
        defaults = [header for header in DEFAULT_HEADERS if header[0] not in present]
        return [*headers, *defaults, *common_headers(self._call)]

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
