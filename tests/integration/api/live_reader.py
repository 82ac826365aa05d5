"""Readers of live lists, for tests: plain sockets underneath, one event at a time."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from tests.integration.api.running_service import bearer


@dataclass(frozen=True)
class Event:
    """One event of a stream; a comment has the kind `heartbeat`."""

    kind: str
    id: str | None = None
    data: Any = None

    @property
    def items(self) -> list[str]:
        return [line["item_id"] for line in self.data["recommendations"]]


class EventReader:
    """An open stream."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.response = response

    def next(self, *kinds: str) -> Event:
        """The next event of one of these kinds (any kind without); others are passed over."""
        while True:
            event = self._event()
            if not kinds or event.kind in kinds:
                return event

    def body(self) -> Any:
        """Of an answer that is no stream."""
        return json.loads(self.response.read())

    def is_closed(self) -> bool:
        """Whether the server has ended the answer; waits for that."""
        return self.response.read() == b""

    def _event(self) -> Event:
        fields: dict[str, str] = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name or "comment"] = value
        if not fields:
            raise EOFError
        if "comment" in fields or ":" in fields:
            return Event("heartbeat")
        if "event" not in fields:
            return Event("retry", data=int(fields["retry"]))
        return Event(fields["event"], fields.get("id"), json.loads(fields["data"]))


@contextlib.contextmanager
def streaming(
    port: int,
    user_id: str,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    receive_bytes: int = 0,
) -> Iterator[EventReader]:
    """`GET /api/v1/recs/{user_id}/stream`, with the user's own token unless told otherwise."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        if receive_bytes:
            connection.sock = socket.socket()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            connection.sock.settimeout(20)
            connection.sock.connect(("127.0.0.1", port))
        own = bearer(user_id) if headers is None or "Authorization" not in headers else {}
        connection.request("GET", f"/api/v1/recs/{user_id}/stream{query}", headers={**own, **(headers or {})})
        response = connection.getresponse()
        try:
            yield EventReader(response)
        finally:
            response.close()
