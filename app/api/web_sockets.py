"""WebSockets on the way of every other request: a handshake is a GET, with its envelope, credentials, limits, policy
and route; only who has passed all of them speaks the other protocol (`Upgrade`). Refusals are ordinary answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.types import Message, Receive, Scope, Send

SUBPROTOCOL = "encore.lists.v1"
CREDENTIALS = "encore.bearer."
"""Begins the subprotocol that carries a token: browsers let a page set no other header of a handshake."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The connection behind a request that may become a WebSocket."""

    receive: Receive
    send: Send

    async def answer(self, message: Message) -> None:
        """Send a part of an ordinary answer: the handshake is refused by it."""
        kind = message["type"]
        await self.send({**message, "type": f"websocket.{kind}"} if kind.startswith("http.") else message)


def as_request(scope: Scope, receive: Receive, send: Send) -> tuple[Scope, Receive, Send]:
    """The handshake as the GET that it is; the route finds the `Upgrade` in its state."""
    upgrade = Upgrade(receive, send)
    made: dict[str, Any] = {
        **scope,
        "type": "http",
        "method": "GET",
        "scheme": "https" if scope["scheme"] == "wss" else "http",
        "headers": [*scope["headers"], *_credentials(scope)],
        "state": {**scope.get("state", {}), "upgrade": upgrade},
    }
    return made, _no_body, upgrade.answer


def upgrade_of(scope: Scope) -> Upgrade | None:
    """None where the request did not ask to become a WebSocket."""
    found: Upgrade | None = scope["state"].get("upgrade")
    return found


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _credentials(scope: Scope) -> list[tuple[bytes, bytes]]:
    """As a header of their own; beside others they are as ambiguous as two headers."""
    offered = [name.removeprefix(CREDENTIALS) for name in scope.get("subprotocols", ()) if name.startswith(CREDENTIALS)]
    return [(b"authorization", b"Bearer " + token.encode("latin-1")) for token in offered]
