"""The embedded publisher: keeps the last messages in memory, for the demo, for tests and for a look from outside."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from app.domain.entities import OutboxMessage
from app.domain.exceptions import BrokerUnavailableError
from app.domain.interfaces import EventPublisher


class MemoryPublisher(EventPublisher):
    """Holds the last `keep` messages; `total` counts all of them. After `close` it refuses like a broker that left."""

    def __init__(self, keep: int = 1_000) -> None:
        self.messages: deque[OutboxMessage] = deque(maxlen=keep)
        self.total = 0
        self._is_open = True

    async def publish(self, messages: Sequence[OutboxMessage]) -> None:
        await self.ping()
        self.messages.extend(messages)
        self.total += len(messages)

    async def erase(self, topic: str, keys: Sequence[str]) -> int:
        await self.ping()
        gone = frozenset(keys)
        kept = [one for one in self.messages if one.topic != topic or one.key not in gone]
        found = len(self.messages) - len(kept)
        self.messages = deque(kept, maxlen=self.messages.maxlen)
        return found

    async def ping(self) -> None:
        if not self._is_open:
            raise BrokerUnavailableError("the publisher is closed")

    async def close(self) -> None:
        self._is_open = False
