"""An open-loop load: so many requests a second, whether or not answers come. What users do to a slow service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.application.credentials import issue_token

PATIENCE_SECONDS = 20.0
LOST = 0
"""In place of a status: no connection, or no whole answer."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: when it was sent (seconds since the load began), its status, how long it took."""

    sent: float
    status: int
    seconds: float


@dataclass
class OpenLoop:
    """GETs of lists on connections of their own, round the users. `port`, or several: one after the other."""

    ports: Sequence[int]
    users: Sequence[str]
    secret: str
    per_second: float
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tokens: Mapping[str, str] = {user: token_of(user, self.secret) for user in self.users}
        self._stopping = asyncio.Event()
        self._began = time.perf_counter()

    @property
    def now(self) -> float:
        """Seconds since the load began."""
        return time.perf_counter() - self._began

    def stop(self) -> None:
        """Send no more."""
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`, and until the last answer is there."""
        self._began, sent, running = time.perf_counter(), 0, set[asyncio.Task[None]]()
        while not self._stopping.is_set():
            task = asyncio.create_task(self._one(sent))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
            await asyncio.sleep(max(0.0, sent / self.per_second - self.now))
        await asyncio.gather(*running)

    async def _one(self, number: int) -> None:
        sent, user = self.now, self.users[number % len(self.users)]
        status = await ask(self.ports[number % len(self.ports)], user, self._tokens[user])
        self.seen.append(Seen(sent, status, self.now - sent))

    def between(self, start: float, end: float) -> list[Seen]:
        """What was sent then."""
        return [each for each in self.seen if start <= each.sent < end]


async def ask(port: int, user: str, token: str, patience_seconds: float = PATIENCE_SECONDS) -> int:
    """The status of one list, its body read to the end; LOST without a whole answer."""
    head = f"GET /api/v1/recs/{user} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(patience_seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head.encode())
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return LOST
    return int(answer[9:12]) if answer[9:12].isdigit() and answer.endswith(b"}") else LOST


def token_of(user: str, secret: str) -> str:
    """A token for this user's own lists."""
    return issue_token(secret, subject=user, scopes=("recs:read",), now=datetime.now(UTC))


def quantile_ms(seen: Sequence[Seen], share: float) -> float:
    """The latency that this share of the requests stayed below."""
    ordered = sorted(each.seconds for each in seen)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1_000 if ordered else 0.0


def statuses(seen: Sequence[Seen]) -> dict[str, int]:
    """How many answers of each status."""
    return {
        str(status): sum(each.status == status for each in seen) for status in sorted({each.status for each in seen})
    }


def failures(seen: Sequence[Seen]) -> int:
    """Answers that never came whole, and those in the five hundreds."""
    return sum(each.status == LOST or each.status >= 500 for each in seen)
