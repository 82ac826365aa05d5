"""What a person's list is ranked from, readable: titles, weights, times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.application.recommending.user_context import UserContextReader
from app.application.serving.model_server import ModelServer


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One item of a history. `weight` as ranking uses it: negative for dislikes, smaller with age."""

    item_id: str
    title: str | None
    weight: float
    at: datetime


class UserHistories:
    """Reads histories the way ranking does, and names the items as lists do."""

    def __init__(self, reader: UserContextReader, server: ModelServer, clock: Callable[[], datetime]) -> None:
        self._reader = reader
        self._server = server
        self._clock = clock

    async def read(self, user_id: str, limit: int) -> Sequence[HistoryEntry]:
        """The newest entries, newest first; none for somebody nobody knows. Raises DatabaseUnavailableError."""
        serving = self._server.current
        user = await self._reader.user(user_id, serving, self._clock())
        return [
            HistoryEntry(item_id, self._title(item_id), round(weight, 6), datetime.fromtimestamp(time, UTC))
            for item_id, weight, time in user.history[:limit]
        ]

    def _title(self, item_id: str) -> str | None:
        view = self._server.current.view
        position = view.ids.position(item_id)
        return None if position is None else view.title(position)
