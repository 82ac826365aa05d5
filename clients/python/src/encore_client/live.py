"""What a live list says and when to open it again: for both clients alike, without I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from encore_client import models
from encore_client.errors import ProblemError
from encore_client.ops import Op
from encore_client.rules import TRANSIENT, RetryPolicy

SILENCE_SECONDS = 60.0
"""After so long without a sign of life another connection is opened."""

MAX_DOUBLINGS = 5


@dataclass(frozen=True, slots=True)
class LiveUpdate:
    """The list as it is now. Hand `id` back as `last_id` to hear nothing until it is another."""

    id: str
    list: models.ListAnswer


@dataclass(slots=True)
class LiveState:
    """What outlives a connection: the last list, and how long to wait before the next try."""

    op: Op[Any]
    policy: RetryPolicy
    last_id: str | None = None
    pause: float = 1.0
    failures: int = 0
    _fields: dict[str, str] = field(default_factory=dict)
    is_ended: bool = False

    def headers(self, token: str) -> Mapping[str, str]:
        """Of the next connection."""
        self._fields, self.is_ended = {}, False
        resume = {} if self.last_id is None else {"Last-Event-ID": self.last_id}
        return {"Authorization": f"Bearer {token}", **resume}

    def line(self, text: str) -> Iterator[LiveUpdate]:
        """Take one line of the stream; gives a list when it completes one."""
        if text:
            name, _, value = text.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return
        fields, self._fields = self._fields, {}
        if "retry" in fields:
            self.pause = int(fields["retry"]) / 1_000
        if fields.get("event") == "end":
            self.is_ended = True
        if fields.get("event") == "list":
            self.last_id, self.failures = fields["id"], 0
            yield LiveUpdate(self.last_id, json.loads(fields["data"]))

    def wait(self, error: Exception | None) -> float:
        """Seconds until the next connection. Raises the error where another would not help (401, 403, 422)."""
        asked = 0.0
        if isinstance(error, ProblemError):
            if error.status not in TRANSIENT:
                raise error
            asked = error.retry_after_seconds or 0.0
        grown = min(self.policy.max_delay, self.pause * 2.0 ** min(self.failures, MAX_DOUBLINGS))
        self.failures += 1
        return asked + grown * (0.5 + self.policy.random() / 2)


def time_limits(connect: float) -> httpx.Timeout:
    """Short for all but the waiting for the next line."""
    return httpx.Timeout(connect, read=SILENCE_SECONDS)
