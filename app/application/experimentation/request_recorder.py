"""Writing the request log in the background: a bounded queue that never makes a list wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from app import telemetry
from app.application.waiting import Backoff
from app.domain.exceptions import UnavailableError
from app.domain.experiments import Assignment
from app.domain.list_query import Page
from app.domain.request_log import RequestEntry, RequestLogStore, ShownItem, is_logged, user_pseudonym

CAPACITY = 50_000
"""Lists that may wait: at a thousand a second, most of a minute without a database; some 20 MB."""

BATCH = 1_000
PERIOD_SECONDS = 0.25


class _Shown(NamedTuple):
    request_id: str
    at: float
    user_id: str | None
    surface: str
    page: Page
    assignment: Assignment | None
    is_preview: bool
    seconds: float


class RequestRecorder:
    """Takes what was answered, and writes it in batches. What does not fit is dropped and counted, oldest first."""

    def __init__(self, store: RequestLogStore, secret: bytes, share: float, *, capacity: int = CAPACITY) -> None:
        self._store = store
        self._secret = secret
        self._share = share
        self._queue: deque[_Shown] = deque()
        self._capacity = capacity
        self._in_hand: list[RequestEntry] = []
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._queue) + len(self._in_hand)

    def record(
        self,
        request_id: str,
        at: float,
        user_id: str | None,
        surface: str,
        page: Page,
        *,
        seconds: float,
        assignment: Assignment | None = None,
        is_preview: bool = False,
    ) -> None:
        """Queue one list; `at`: Unix seconds. Never blocks, never raises; the entry is made when it is written."""
        if not self._share:
            return
        if len(self._queue) >= self._capacity:
            self._queue.popleft()
            self._drop(1)
        self._queue.append(_Shown(request_id, at, user_id, surface, page, assignment, is_preview, seconds))

    async def run(self) -> None:
        """Until cancelled. An outage is waited out with growing pauses, while the queue stays bounded."""
        backoff = Backoff(first_seconds=0.5, max_seconds=10.0)
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            try:
                while len(self):
                    await self._write_some()
                backoff.reset()
            except UnavailableError:
                telemetry.BACKGROUND_FAILURES.labels("request_log").inc()
                await asyncio.sleep(backoff.next_seconds())

    async def flush(self, timeout_seconds: float) -> None:
        """At shutdown: write what waits, within the time; the rest is dropped and counted."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while len(self):
                    await self._write_some()
        except (TimeoutError, UnavailableError):
            self._drop(len(self))

    def erase(self, is_theirs: Callable[[str], bool]) -> int:
        """Remove people from what waits here; how many lists that were. What is being written finds their graves."""
        kept = [one for one in self._queue if one.user_id is None or not is_theirs(one.user_id)]
        gone = len(self._queue) - len(kept)
        self._queue.clear()
        self._queue.extend(kept)
        return gone

    async def _write_some(self) -> None:
        if not self._in_hand:
            taken = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            self._in_hand = await asyncio.to_thread(self._entries, taken)
        await self._store.add(self._in_hand)
        telemetry.REQUESTS_LOGGED.inc(len(self._in_hand))
        self._in_hand = []

    def _entries(self, taken: list[_Shown]) -> list[RequestEntry]:
        """Those of users who are logged, and every list of nobody."""
        users = [None if one.user_id is None else user_pseudonym(self._secret, one.user_id) for one in taken]
        return [
            _entry(one, user)
            for one, user in zip(taken, users, strict=True)
            if user is None or is_logged(user, self._share)
        ]

    def _drop(self, number: int) -> None:
        self.dropped += number
        telemetry.REQUESTS_NOT_LOGGED.inc(number)


def _entry(shown: _Shown, user: bytes | None) -> RequestEntry:
    page, assignment = shown.page, shown.assignment
    return RequestEntry(
        request_id=shown.request_id,
        at=datetime.fromtimestamp(shown.at, UTC),
        user=user,
        surface=shown.surface,
        model_id=None if page.model is None else page.model.model_id,
        model_version=None if page.model is None else page.model.version,
        experiment_id=None if assignment is None else assignment.experiment_id,
        variant=None if assignment is None else assignment.arm.name,
        is_preview=shown.is_preview,
        fallback_reason=page.fallback_reason,
        from_cache=page.from_cache,
        seconds=shown.seconds,
        items=tuple(
            ShownItem(item.item_id, item.rank, item.score, item.source, item.propensity) for item in page.items
        ),
    )
