"""Events out: the relay that empties the outbox, and the bounded queue for events that may be lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from app import telemetry
from app.application.outgoing.outgoing_events import OutgoingEvent, to_message
from app.application.waiting import Backoff, wait_any, wait_unless
from app.domain.entities import DeadLetter, OutboxMessage
from app.domain.exceptions import BrokerUnavailableError, InputError, UnavailableError
from app.domain.interfaces import EventPublisher
from app.domain.queue_stores import DeadLetterStore, OutboxStore

log = telemetry.get_logger(__name__)

MAX_KEPT_BYTES = 4_096
"""How much of a payload a dead letter keeps (domain.models.DeadLetter)."""


@dataclass(frozen=True, slots=True)
class RelayPolicy:
    """How the relay works. The lease outlives a publish by far, so that two relays rarely hold one message."""

    batch: int = 200
    lease_seconds: float = 60.0
    idle_seconds: float = 0.5
    first_backoff_seconds: float = 0.5
    max_backoff_seconds: float = 30.0
    observe_seconds: float = 5.0


class OutboxRelay:
    """Claims messages, publishes them in order, marks them: at least once, the message id tells a repetition.

    A message that no broker will ever take becomes a dead letter instead of holding up all that follow it.
    """

    def __init__(
        self,
        outbox: OutboxStore,
        dead_letters: DeadLetterStore,
        publisher: EventPublisher,
        clock: Callable[[], datetime],
        policy: RelayPolicy | None = None,
    ) -> None:
        self._outbox = outbox
        self._dead_letters = dead_letters
        self._publisher = publisher
        self._clock = clock
        self._policy = policy or RelayPolicy()
        self._held: Sequence[OutboxMessage] = ()
        self._held_until = 0.0
        self._observed_at = float("-inf")

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping`. An outage is waited out with growing pauses; what was claimed is finished first."""
        backoff = Backoff(self._policy.first_backoff_seconds, self._policy.max_backoff_seconds)
        while not stopping.is_set():
            try:
                await self._observe()
                sent = await self.run_once()
                backoff.reset()
                pause = 0.0 if sent == self._policy.batch else self._policy.idle_seconds
            except UnavailableError as exc:
                telemetry.BACKGROUND_FAILURES.labels("outbox").inc()
                pause = backoff.next_seconds()
                log.warning("outbox_waits", error=type(exc).__name__, pause_seconds=round(pause, 2))
            await wait_unless(stopping, pause)

    async def run_once(self) -> int:
        """Publish one batch; returns how many messages left the outbox. Raises UnavailableError."""
        messages = await self._claim()
        if not messages:
            return 0
        refused = await self._publish(messages)
        if refused:
            await self._dead_letters.add([_dead_letter(message, self._clock()) for message in refused])
        await self._outbox.published([_sequence(message) for message in messages], self._clock())
        self._held = ()
        return len(messages)

    async def _observe(self) -> None:
        """Show what waits, also while nothing can leave: that is when somebody must see it."""
        now = asyncio.get_running_loop().time()
        if now >= self._observed_at + self._policy.observe_seconds:
            self._observed_at = now
            telemetry.OUTBOX_PENDING.set(await self._outbox.pending())

    async def _claim(self) -> Sequence[OutboxMessage]:
        """What an earlier attempt could not publish goes first, as long as our lease on it lives."""
        now = asyncio.get_running_loop().time()
        if not self._held or now > self._held_until:
            lease = self._policy.lease_seconds
            self._held = await self._outbox.claim(self._policy.batch, self._clock(), lease)
            self._held_until = now + lease / 2
        return self._held

    async def _publish(self, messages: Sequence[OutboxMessage]) -> Sequence[OutboxMessage]:
        """The messages the broker refused for good; all others are out."""
        try:
            await self._publisher.publish(messages)
        except InputError:
            if len(messages) == 1:
                telemetry.EVENTS_PUBLISHED.labels(messages[0].topic, "refused").inc()
                return messages
            # Halves, in order: some may go out twice, which their id makes harmless.
            middle = len(messages) // 2
            return [*await self._publish(messages[:middle]), *await self._publish(messages[middle:])]
        for message in messages:
            telemetry.EVENTS_PUBLISHED.labels(message.topic, "published").inc()
        return ()


class BackgroundEvents:
    """Events that may be lost (RecommendationsRefreshed): a bounded queue that never makes a request wait.

    When it is full the oldest goes: the newest list of a user is the one worth telling. What is dropped is counted.
    """

    def __init__(
        self,
        publisher: EventPublisher,
        clock: Callable[[], datetime],
        *,
        capacity: int = 10_000,
        batch: int = 500,
    ) -> None:
        self._publisher = publisher
        self._clock = clock
        self._capacity = capacity
        self._batch = batch
        self._queue: deque[tuple[OutgoingEvent, str | None]] = deque()
        self._in_hand: list[OutboxMessage] = []
        self._waiting = asyncio.Event()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._queue) + len(self._in_hand)

    def offer(self, event: OutgoingEvent, traceparent: str | None = None) -> None:
        """Queue an event; never blocks, never raises."""
        if len(self._queue) >= self._capacity:
            self._drop([self._queue.popleft()[0]])
        self._queue.append((event, traceparent))
        self._waiting.set()

    def erase(self, is_theirs: Callable[[str], bool]) -> int:
        """Forget events whose key is one of theirs; how many there were."""
        kept = [(event, parent) for event, parent in self._queue if not is_theirs(getattr(event, event.key_field))]
        in_hand = [message for message in self._in_hand if not is_theirs(message.key)]
        gone = len(self) - len(kept) - len(in_hand)
        self._queue.clear()
        self._queue.extend(kept)
        self._in_hand = in_hand
        return gone

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish until `stopping`; an outage is waited out with growing pauses while the queue stays bounded."""
        backoff = Backoff(first_seconds=0.5, max_seconds=30.0)
        while not stopping.is_set():
            await wait_any(self._waiting, stopping)
            try:
                await self._publish_some()
                backoff.reset()
            except BrokerUnavailableError:
                telemetry.BACKGROUND_FAILURES.labels("background_events").inc()
                await wait_unless(stopping, backoff.next_seconds())

    async def flush(self, timeout_seconds: float) -> int:
        """At shutdown: publish what waits, within the time; the rest is dropped and counted. Returns how many were."""
        before = self.dropped
        # A broker that is gone has had its chance: what is left is counted below.
        with contextlib.suppress(TimeoutError, BrokerUnavailableError):
            async with asyncio.timeout(timeout_seconds):
                while len(self):
                    await self._publish_some()
        self._drop([*self._in_hand, *(event for event, _ in self._queue)])
        self._in_hand = []
        self._queue.clear()
        return self.dropped - before

    async def _publish_some(self) -> None:
        if not self._in_hand:
            taken = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
            # made once, so that a repetition after a failure carries the same id
            self._in_hand = [self._message(event, parent) for event, parent in taken]
        try:
            await self._publisher.publish(self._in_hand)
        except InputError:
            self._drop(self._in_hand)
        else:
            for message in self._in_hand:
                telemetry.EVENTS_PUBLISHED.labels(message.topic, "published").inc()
        self._in_hand = []
        if not self._queue:
            self._waiting.clear()

    def _message(self, event: OutgoingEvent, traceparent: str | None) -> OutboxMessage:
        return to_message(event, self._clock(), {"traceparent": traceparent} if traceparent else None)

    def _drop(self, lost: Sequence[OutgoingEvent | OutboxMessage]) -> None:
        self.dropped += len(lost)
        for event in lost:
            telemetry.EVENTS_DROPPED.labels(event.topic).inc()


def _sequence(message: OutboxMessage) -> int:
    assert message.sequence is not None, "the store numbers what it hands out"
    return message.sequence


def _dead_letter(message: OutboxMessage, now: datetime) -> DeadLetter:
    return DeadLetter(
        source="outbox",
        reason="refused_by_broker",
        payload=message.payload[:MAX_KEPT_BYTES],
        sha256=sha256(message.payload).hexdigest(),
        received_at=now,
        topic=message.topic,
    )
