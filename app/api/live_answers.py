"""Answers that stay open: a user's list now and each time it changes, as server-sent events or over a WebSocket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Protocol

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app import telemetry
from app.api.live_transport import live_transport_of
from app.api.problems import UPGRADE_REQUIRED, Problem
from app.api.request_context import Exchange, exchange_of, request_context_of
from app.api.security import Authenticator, Principal, presented_credentials
from app.api.web_sockets import SUBPROTOCOL, Upgrade, upgrade_of
from app.application.recommending.live_lists import LiveList, LiveLists, ReadList, Subscription
from app.domain.exceptions import AuthenticationError

RETRY_MS = (500, 3_000)
"""Readers come back after some time between these, so that they do not all come at once."""

CREDENTIALS_ENDED = "credentials_ended"
SHUTTING_DOWN = "shutting_down"
SERVICE_RESTART, POLICY_VIOLATION, UNSUPPORTED_DATA = 1012, 1008, 1003
"""RFC 6455 §7.4.1 and its registry."""


class LiveWriter(Protocol):
    """How one transport says what there is to say."""

    name: str

    async def begin(self) -> None:
        """Accept."""

    async def show(self, found: LiveList) -> None:
        """A list."""

    async def sign_of_life(self) -> None:
        """Nothing has changed."""

    async def end(self, reason: str) -> None:
        """Nothing more will come."""


class EventStream(LiveWriter):
    """https://html.spec.whatwg.org/multipage/server-sent-events.html"""

    name = "sse"

    def __init__(self, send: Send) -> None:
        self._send = send

    async def begin(self) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"), (b"connection", b"close")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._write(b"retry: %d\n\n" % random.randint(*RETRY_MS))  # noqa: S311 - spreads load, guards nothing

    async def show(self, found: LiveList) -> None:
        await self._write(b"id: %b\nevent: list\ndata: %b\n\n" % (found.id.encode(), found.body()))

    async def sign_of_life(self) -> None:
        await self._write(b": heartbeat\n\n")

    async def end(self, reason: str) -> None:
        await self._write(b'event: end\ndata: {"reason":"%b"}\n\n' % reason.encode())
        await self.close()

    async def close(self) -> None:
        """The end of the answer."""
        await self._send({"type": "http.response.body", "body": b""})

    async def _write(self, part: bytes) -> None:
        await self._send({"type": "http.response.body", "body": part, "more_body": True})


class Socket(LiveWriter):
    """RFC 6455, one JSON document a message."""

    name = "websocket"

    def __init__(self, send: Send, offered: list[str]) -> None:
        self._send = send
        self._subprotocol = SUBPROTOCOL if SUBPROTOCOL in offered else None

    async def begin(self) -> None:
        await self._send({"type": "websocket.accept", "subprotocol": self._subprotocol})

    async def show(self, found: LiveList) -> None:
        body = msgspec.Raw(found.body())
        await self._write(msgspec.json.encode({"event": "list", "id": found.id, "list": body}))

    async def sign_of_life(self) -> None:
        await self._write(b'{"event":"heartbeat"}')

    async def end(self, reason: str) -> None:
        await self._write(msgspec.json.encode({"event": "end", "reason": reason}))
        code = POLICY_VIOLATION if reason == CREDENTIALS_ENDED else SERVICE_RESTART
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def _write(self, text: bytes) -> None:
        await self._send({"type": "websocket.send", "text": text.decode()})


class LiveAnswer(Response):
    """Speaks to one reader until it leaves, its credentials end or the process does. It holds no place (`Admission`):
    the list is read when it is its turn (`LiveLists`).
    """

    def __init__(
        self,
        lists: LiveLists,
        user_id: str,
        read: ReadList,
        known_id: str | None,
        authenticator: Authenticator,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__()
        self._lists = lists
        self._user_id = user_id
        self._read = read
        self._known_id = known_id
        self._authenticator = authenticator
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises OverloadedError and RateLimitedError before anything is sent."""
        exchange, upgrade = exchange_of(scope), upgrade_of(scope)
        with self._lists.subscribed(self._user_id, self._read, self._known_id) as subscription:
            if exchange.is_head:
                await self._head(exchange)
                return
            exchange.is_stream = True
            live = live_transport_of(scope)
            if live is not None:
                live.stay_open()
            writer = EventStream(send) if upgrade is None else Socket(send, scope.get("subprotocols", []))
            gone = asyncio.ensure_future(_until_gone(receive if upgrade is None else upgrade.receive))
            speaking = asyncio.ensure_future(self._speak(scope, subscription, writer))
            try:
                await asyncio.wait({gone, speaking}, return_when=asyncio.FIRST_COMPLETED)
                await self._part(gone, speaking, upgrade, send)
            finally:
                gone.cancel()
                speaking.cancel()
                await asyncio.gather(gone, speaking, return_exceptions=True)

    async def _head(self, exchange: Exchange) -> None:
        await exchange.answer(200, [(b"content-type", b"text/event-stream")], b"")

    async def _part(
        self, gone: asyncio.Future[bool], speaking: asyncio.Future[None], upgrade: Upgrade | None, send: Send
    ) -> None:
        """The reader has left, or all is said."""
        if speaking.done():
            with suppress(OSError):  # the reader has left: nothing but the connection raises these here
                speaking.result()
        elif upgrade is not None and gone.result():
            await send({"type": "websocket.close", "code": UNSUPPORTED_DATA, "reason": "nothing is read here"})

    async def _speak(self, scope: Scope, subscription: Subscription, writer: LiveWriter) -> None:
        """All that is said to one reader."""
        telemetry.LIVE_CONNECTIONS.inc()
        try:
            await writer.begin()
            left = self._seconds_left(request_context_of(scope).principal)
            reason, life = CREDENTIALS_ENDED, asyncio.timeout(left)
            try:
                async with life:
                    reason = await self._show_changes(scope, subscription, writer)
            except TimeoutError:
                if not life.expired():
                    raise
            await writer.end(reason)
        finally:
            telemetry.LIVE_CONNECTIONS.dec()

    async def _show_changes(self, scope: Scope, subscription: Subscription, writer: LiveWriter) -> str:
        """Every list that differs from the one before, until there is a reason to end."""
        live, shown = live_transport_of(scope), telemetry.LIVE_LISTS.labels(writer.name)
        loop = asyncio.get_running_loop()
        verified_at = loop.time()
        while not subscription.is_over:
            found = await subscription.next()
            if loop.time() - verified_at >= subscription.heartbeat_seconds:
                verified_at = loop.time()
                if not await self._still_holds(scope):
                    return CREDENTIALS_ENDED
            if found is not None:
                await writer.show(found)
                shown.inc()
            elif not subscription.is_over:
                await writer.sign_of_life()
            if live is not None:
                await live.drained()
        return SHUTTING_DOWN

    async def _still_holds(self, scope: Scope) -> bool:
        principal, credentials = request_context_of(scope).principal, presented_credentials(scope["headers"])
        if principal is None or credentials is None:
            raise AuthenticationError
        return await self._authenticator.still_holds(credentials, principal)

    def _seconds_left(self, principal: Principal | None) -> float | None:
        if principal is None or principal.expires_at == float("inf"):
            return None
        return max(0.0, principal.expires_at - self._clock().timestamp())


class UpgradeRequired(Response):
    """To a plain GET where only a WebSocket is spoken (RFC 9110 §15.5.22)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = ((b"upgrade", b"websocket"), (b"connection", b"upgrade"))
        await exchange_of(scope).refuse(Problem(UPGRADE_REQUIRED, headers=headers))


async def _until_gone(receive: Receive) -> bool:
    """Until the reader has left; True if it stays and says something, which nobody would read."""
    while True:
        message = await receive()
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            return False
        if message["type"] == "websocket.receive":
            return True
