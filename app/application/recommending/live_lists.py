"""Live lists: whoever subscribes has the list now, and again each time it changes; one use case behind every transport.

Nothing is queued for a subscriber but the fact that its list may have changed: the list itself is read when the reader
is ready for it. So a slow reader gets the newest list, never a backlog, and holds no memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from app import telemetry
from app.application.waiting import Backoff
from app.domain.exceptions import CacheUnavailableError, OverloadedError, RateLimitedError, UnavailableError
from app.domain.interfaces import Cache

AT_ONCE = 8
"""Lists read at once after changes of their users."""

SWEPT_AT_ONCE = 1
"""Lists read at once because a model or the catalog changed: everybody's, so they take turns, behind the others."""

MAKESHIFT_SECONDS = 1.0
"""After so long a list that an outage or overload put in place of the personal one is tried again."""

FULL_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class LivePolicy:
    """How many may be connected, in all and for one user, and after how long a silence a sign of life is due."""

    max_connections: int
    max_per_user: int
    heartbeat_seconds: float


@dataclass(frozen=True, slots=True)
class LiveList:
    """A list as it is now. `id` is the same while a reader would see no difference, in every process.

    `body` makes its bytes, and counts it as shown: called once, for a list that is sent. `is_makeshift`: an outage or
    overload answered in place of the personal list.
    """

    id: str
    body: Callable[[], bytes]
    is_makeshift: bool = False


ReadList = Callable[[], Awaitable[LiveList]]


class LiveLists:
    """Who is subscribed, and whose turn it is to read. For one event loop."""

    def __init__(self, cache: Cache, policy: LivePolicy) -> None:
        self._cache = cache
        self._policy = policy
        self._by_user: dict[str, set[Subscription]] = {}
        self._connected = 0
        self._urgent: dict[Subscription, None] = {}
        self._swept: dict[Subscription, None] = {}
        self._reading: Counter[bool] = Counter()
        self.is_closing = False
        self.is_over = False

    def __len__(self) -> int:
        return self._connected

    @contextmanager
    def subscribed(self, user_id: str, read: ReadList, known_id: str | None = None) -> Iterator[Subscription]:
        """Subscribe while the body runs. `known_id`: of the list that the reader has already.

        Raises OverloadedError where too many are connected or the process ends, RateLimitedError for one user's.
        """
        if self.is_closing or len(self) >= self._policy.max_connections:
            telemetry.REQUESTS_SHED.labels("live_lists").inc()
            error = OverloadedError("no more live lists here")
            error.retry_after_seconds = FULL_RETRY_SECONDS
            raise error
        if len(self._by_user.get(user_id, ())) >= self._policy.max_per_user:
            raise RateLimitedError(FULL_RETRY_SECONDS)
        subscription = Subscription(self, read, known_id, self._policy.heartbeat_seconds)
        self._by_user.setdefault(user_id, set()).add(subscription)
        self._connected += 1
        subscription.want(is_urgent=True)
        try:
            yield subscription
        finally:
            subscription.leave()
            self._remove(user_id, subscription)

    def renew(self, user_id: str | None) -> None:
        """This user's list may have changed; None: anybody's."""
        if user_id is not None:
            for subscription in self._by_user.get(user_id, ()):
                subscription.want(is_urgent=True)
            return
        for subscriptions in self._by_user.values():
            for subscription in subscriptions:
                subscription.want(is_urgent=False)

    def renew_all(self) -> None:
        """A model or the catalog has changed."""
        self.renew(None)

    async def follow(self) -> None:
        """Hear from all processes whose history has changed, until cancelled."""
        backoff = Backoff(0.2, 5.0)
        while True:
            try:
                async for user_id in self._cache.invalidations():
                    backoff.reset()
                    self.renew(user_id)
            except CacheUnavailableError:
                telemetry.BACKGROUND_FAILURES.labels("live_lists").inc()
            await asyncio.sleep(backoff.next_seconds())

    def stop_accepting(self) -> None:
        """The process is about to end: who comes now goes elsewhere."""
        self.is_closing = True

    def end(self) -> None:
        """End all subscriptions: their readers resume elsewhere."""
        self.is_closing = self.is_over = True
        for subscriptions in self._by_user.values():
            for subscription in subscriptions:
                subscription.wake()

    def queue(self, subscription: Subscription, *, is_urgent: bool) -> None:
        """Let it read when it is its turn."""
        if is_urgent:
            self._swept.pop(subscription, None)
            self._urgent[subscription] = None
        elif subscription not in self._urgent:
            self._swept[subscription] = None
        self._grant()

    def unqueue(self, subscription: Subscription) -> None:
        """It does not want to read any more."""
        self._urgent.pop(subscription, None)
        self._swept.pop(subscription, None)

    def finished(self, *, is_urgent: bool) -> None:
        """One has read: the next may."""
        self._reading[is_urgent] -= 1
        self._grant()

    def _grant(self) -> None:
        for is_urgent, queue, most in ((True, self._urgent, AT_ONCE), (False, self._swept, SWEPT_AT_ONCE)):
            while queue and self._reading[is_urgent] < most:
                subscription = next(iter(queue))
                del queue[subscription]
                if subscription.take_turn(is_urgent=is_urgent):
                    self._reading[is_urgent] += 1

    def _remove(self, user_id: str, subscription: Subscription) -> None:
        self._by_user[user_id].discard(subscription)
        if not self._by_user[user_id]:
            del self._by_user[user_id]
        self._connected -= 1


class Subscription:
    """One reader. It may read only while it waits in `next`: a reader that is busy sending holds no turn."""

    __slots__ = (
        "_is_waiting",
        "_known_id",
        "_lists",
        "_missed",
        "_read",
        "_retry",
        "_turn",
        "_woken",
        "heartbeat_seconds",
    )

    def __init__(self, lists: LiveLists, read: ReadList, known_id: str | None, heartbeat_seconds: float) -> None:
        self._lists = lists
        self._read = read
        self._known_id = known_id
        self.heartbeat_seconds = heartbeat_seconds
        self._woken = asyncio.Event()
        self._is_waiting = False
        self._missed: bool | None = None
        self._turn: bool | None = None
        self._retry: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        """Whether the process ends its subscriptions."""
        return self._lists.is_over

    async def next(self) -> LiveList | None:
        """The list when it differs from the one before; None as a sign of life, or because all is over."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self.heartbeat_seconds
        while not self.is_over and await self._its_turn(due):
            found = await self._read_now()
            if found is not None and found.id != self._known_id:
                self._known_id = found.id
                return found
        return None

    def want(self, *, is_urgent: bool) -> None:
        """The list may have changed. While the reader is busy that is only noted."""
        if self._is_waiting and self._turn is None:
            self._lists.queue(self, is_urgent=is_urgent)
        else:
            self._missed = is_urgent or bool(self._missed)

    def take_turn(self, *, is_urgent: bool) -> bool:
        """False if it is busy; it asks again when it is not."""
        if not self._is_waiting:
            self.want(is_urgent=is_urgent)
            return False
        self._turn = is_urgent
        self._woken.set()
        return True

    def wake(self) -> None:
        """Look whether all is over."""
        self._woken.set()

    def leave(self) -> None:
        """Give back what it holds."""
        self._is_waiting = False
        self._lists.unqueue(self)
        self._end_turn()
        if self._retry is not None:
            self._retry.cancel()

    async def _its_turn(self, due: float) -> bool:
        """Wait until this reader may read; False when a sign of life is due first."""
        self._is_waiting = True
        if self._missed is not None:
            is_urgent, self._missed = self._missed, None
            self._lists.queue(self, is_urgent=is_urgent)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._woken.wait()
        finally:
            self._is_waiting = False
            self._woken.clear()
        return self._turn is not None

    async def _read_now(self) -> LiveList | None:
        """The list; None where there is none now, or one that is no better than what the reader has."""
        try:
            found = await self._read()
        except UnavailableError:
            telemetry.BACKGROUND_FAILURES.labels("live_lists").inc()
            found = None
        finally:
            self._end_turn()
        if found is None or found.is_makeshift:
            self._retry_soon()
        return None if found is not None and found.is_makeshift and self._known_id is not None else found

    def _end_turn(self) -> None:
        if self._turn is not None:
            is_urgent, self._turn = self._turn, None
            self._lists.finished(is_urgent=is_urgent)

    def _retry_soon(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._retry = asyncio.get_running_loop().call_later(MAKESHIFT_SECONDS, lambda: self.want(is_urgent=False))
