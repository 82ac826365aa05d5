"""Events one by one in, few requests out; what is acknowledged is stored, and stored once."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from encore_client import errors
from encore_client.clients import AsyncEncore
from encore_client.models import EventResult, EventsAnswer
from encore_client.ops import Event, send_events, with_id
from encore_client.rules import RetryPolicy

T = TypeVar("T")
FIRST_DELAY = 0.1
ONCE = RetryPolicy(retries=0)
ABOUT_EVENTS = (errors.InvalidRequestError, errors.ConflictError, errors.PermissionDeniedError)


@dataclass(frozen=True, slots=True)
class BatcherOptions:
    """`max_batch`: events in a request; `max_queue`: waiting or under way, `send` waits beyond; times in seconds."""

    max_batch: int = 500
    max_queue: int = 10_000
    linger: float = 0.05
    max_delay: float = 5.0
    random: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if not 1 <= self.max_batch <= 5_000:
            raise ValueError("max_batch: from 1 to 5,000")
        if self.max_queue < self.max_batch:
            raise ValueError("max_queue: at least max_batch")


@dataclass(slots=True)
class _Entry:
    event: Event
    stored: asyncio.Future[EventResult]

    def resolve(self, result: EventResult) -> None:
        if not self.stored.done():  # whoever waited may have been cancelled
            self.stored.set_result(result)

    def reject(self, error: BaseException) -> None:
        if not self.stored.done():
            self.stored.set_exception(error)


class AsyncEventBatcher:
    """While the service is away a batch is sent again, with the same event ids, until it answers or this is closed."""

    def __init__(self, encore: AsyncEncore, options: BatcherOptions | None = None) -> None:
        self._encore = encore
        self._options = options or BatcherOptions()
        self._queue: deque[_Entry] = deque()
        self._under_way = 0
        self._is_closed = False
        self._is_flushing = False
        self._changed = asyncio.Event()
        self._room = asyncio.Condition()
        self._pump: asyncio.Task[None] | None = None
        self._left: list[Event] = []

    @property
    def pending(self) -> int:
        """Events that wait or are under way."""
        return len(self._queue) + self._under_way

    async def send(self, event: Event) -> EventResult:
        """Returns when the event is stored. Waits while the queue is full.

        Raises EventRejectedError or a ProblemError if it is refused, BatcherClosedError if this is closed first.
        """
        identified = with_id(event)
        async with self._room:
            await self._room.wait_for(lambda: self._is_closed or self.pending < self._options.max_queue)
        while not self._is_closed and self.pending >= self._options.max_queue:  # others woke up too
            async with self._room:
                await self._room.wait()
        if self._is_closed:
            raise errors.BatcherClosedError("the batcher is closed")
        entry = _Entry(identified, asyncio.get_running_loop().create_future())
        self._queue.append(entry)
        self._changed.set()
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run())
        return await entry.stored

    async def flush(self) -> None:
        """Returns when everything taken in so far is stored or refused."""
        self._is_flushing = True
        self._changed.set()
        while self._pump is not None and not self._pump.done():
            await asyncio.wait([self._pump])
        self._is_flushing = False

    async def close(self, timeout: float = 10.0) -> Sequence[Event]:  # noqa: ASYNC109  # ends orderly, not by cancelling
        """Take nothing more, send for at most this long, return the events whose storage is not known."""
        self._is_closed = True
        await self._tell_waiting()
        try:
            async with asyncio.timeout(timeout):
                await self.flush()
        except TimeoutError:
            if self._pump is not None:
                self._pump.cancel()
                await asyncio.wait([self._pump])
        return self._left

    async def _run(self) -> None:
        batch: list[_Entry] = []
        try:
            while self._queue:
                await self._company()
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._options.max_batch))]
                self._under_way = len(batch)
                await self._deliver(batch)
                self._under_way = 0
                await self._tell_waiting()
        except asyncio.CancelledError:
            self._give_up([*batch, *self._queue])
            self._queue.clear()
            self._under_way = 0

    async def _company(self) -> None:
        """Give others time to join, unless the request is full or somebody waits for the end."""
        deadline = asyncio.get_running_loop().time() + self._options.linger
        while len(self._queue) < self._options.max_batch and not self._is_flushing and not self._is_closed:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def _deliver(self, batch: Sequence[_Entry]) -> None:
        attempt = 0
        while True:
            try:
                answer = await self._encore.run(send_events([entry.event for entry in batch]), retry=ONCE)
            except errors.EncoreError as error:
                if _is_refusal(error):
                    await self._refused(batch, error)
                    return
                await asyncio.sleep(self._delay(attempt, error))
                attempt += 1
            else:
                _settle(batch, answer)
                return

    async def _refused(self, batch: Sequence[_Entry], error: errors.EncoreError) -> None:
        """A request is refused whole if nothing in it can be stored: halves tell which event is to blame for what."""
        if len(batch) > 1 and isinstance(error, ABOUT_EVENTS):
            middle = (len(batch) + 1) // 2
            await self._deliver(batch[:middle])
            await self._deliver(batch[middle:])
            return
        for entry in batch:
            entry.reject(_rejection(error))

    def _delay(self, attempt: int, error: errors.EncoreError) -> float:
        longest = min(self._options.max_delay, FIRST_DELAY * 2.0 ** min(attempt, 10))
        asked = (error.retry_after_seconds or 0.0) if isinstance(error, errors.ProblemError) else 0.0
        return float(min(asked, self._options.max_delay) + self._options.random() * longest)

    def _give_up(self, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            if not entry.stored.done():
                self._left.append(entry.event)
                entry.reject(errors.BatcherClosedError("closed before this event was known to be stored"))

    async def _tell_waiting(self) -> None:
        async with self._room:
            self._room.notify_all()


def _settle(batch: Sequence[_Entry], answer: EventsAnswer) -> None:
    results = {result["index"]: result for result in answer["results"]}
    for index, entry in enumerate(batch):
        result = results.get(index)
        if result is None:
            entry.reject(errors.EventRejectedError("no_outcome", None))
        elif result["outcome"] in {"accepted", "duplicate"}:
            entry.resolve(result)
        else:
            entry.reject(errors.EventRejectedError(result["reason"] or result["outcome"], result["field"]))


def _is_refusal(error: errors.EncoreError) -> bool:
    """What sending again does not change. No answer, 408, 429 and 5xx are tried again."""
    if isinstance(error, errors.ConnectionFailedError):
        return False
    return not isinstance(error, errors.ProblemError) or (error.status < 500 and error.status not in {408, 429})


def _rejection(error: errors.EncoreError) -> errors.EncoreError:
    if isinstance(error, errors.InvalidRequestError) and error.errors:
        found = error.errors[0]
        return errors.EventRejectedError(found["code"], found["pointer"].removeprefix("#/") or None)
    return error


class EventBatcher:
    """The same without asyncio, for any number of threads: a thread of its own sends."""

    def __init__(self, make_client: Callable[[], AsyncEncore], options: BatcherOptions | None = None) -> None:
        """`make_client`: called in that thread, which owns and closes what it gives."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="encore-events", daemon=True)
        self._thread.start()
        self._client, self._batcher = self._do(self._open(make_client, options))

    @staticmethod
    async def _open(
        make: Callable[[], AsyncEncore], options: BatcherOptions | None
    ) -> tuple[AsyncEncore, AsyncEventBatcher]:
        client = make()
        return client, AsyncEventBatcher(client, options)

    def send(self, event: Event) -> EventResult:
        """Returns when the event is stored; see AsyncEventBatcher.send."""
        return self._do(self._batcher.send(event))

    def flush(self) -> None:
        """Returns when everything taken in so far is stored or refused."""
        self._do(self._batcher.flush())

    def close(self, timeout: float = 10.0) -> Sequence[Event]:
        """See AsyncEventBatcher.close; ends the thread."""
        left = self._do(self._batcher.close(timeout))
        self._do(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        return left

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
