"""Events in from the log: read and decode the next batch while the last one is being written.

    poll → decode → one transaction (rows, aggregates, dead letters, offsets) → bump generations → leave a hint

Repeating any step does no harm. Nothing is acknowledged to the log before it is in the database, and what the log was
told is only a hint: the database's offsets decide where to begin (docs/reliability.md E1, E2, E11).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime

from app import spans, telemetry
from app.application.ingestion.batch_planning import DecodedRecord, PartitionBatch, PoisonPolicy
from app.application.ingestion.batch_writer import BatchWriter
from app.application.ingestion.consumer_progress import ConsumerProgress
from app.application.ingestion.partition_assignment import PartitionAssignment
from app.application.invalidation.generation_bumps import PendingBumps
from app.application.waiting import Backoff, wait_unless
from app.domain.exceptions import UnavailableError
from app.domain.interfaces import Cache, EventSource, Partition, SourceRecord
from app.domain.stores import Database

log = telemetry.get_logger(__name__)

Decode = Callable[[str, Sequence[SourceRecord], datetime], list[DecodedRecord]]

Decoding = tuple[int, int]
"""When a batch was decoded: Unix time in nanoseconds, from and to."""


@dataclass(frozen=True, slots=True)
class ConsumePolicy:
    """How the consumer works. A batch is what one transaction takes in."""

    max_records: int = 10_000
    poll_seconds: float = 0.25
    hint_seconds: float = 0.5
    stuck_seconds: float = 60.0
    poison: PoisonPolicy = field(default_factory=PoisonPolicy)


class StreamConsumer:
    """One member of the group, from its first poll to its last transaction."""

    def __init__(
        self,
        source: EventSource,
        database: Database,
        cache: Cache,
        decode: Decode,
        clock: Callable[[], datetime],
        policy: ConsumePolicy | None = None,
    ) -> None:
        self._source = source
        self._decode = decode
        self._clock = clock
        self._policy = policy or ConsumePolicy()
        self._stopping = asyncio.Event()
        self._bumps = PendingBumps(cache)
        self.share = PartitionAssignment(source, database.interactions)
        self.progress = ConsumerProgress(self._policy.stuck_seconds)
        self.writer = BatchWriter(
            database, self.share, self._bumps, clock, self._policy.poison, self.progress, self._stopping
        )
        self._hinting: asyncio.Task[bool] | None = None
        self._hinted_at = 0.0
        self._has_restarted = False

    def stop(self) -> None:
        """Finish the batch in hand and leave."""
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`. Outages are waited out; nothing but a bug ends this."""
        backoff = Backoff(first_seconds=0.2, max_seconds=5.0)
        writing = _nothing()
        try:
            while not self._stopping.is_set():
                try:
                    pieces, decoding = await self._read(writing)
                    backoff.reset()
                except UnavailableError as exc:
                    await self._wait(exc, backoff)
                    continue
                await writing
                writing = asyncio.ensure_future(self._write(pieces, decoding))
                await self._restart_if_silent()
        finally:
            await self._leave(writing)

    async def _restart_if_silent(self) -> None:
        """A driver that has been silent for half the time until our own death is made anew, once."""
        if self.progress.idle_seconds() > self._policy.stuck_seconds / 2 and not self._has_restarted:
            self._has_restarted = True
            log.error("consumer_restarts", idle_seconds=round(self.progress.idle_seconds(), 1))
            await self._source.close()

    async def _wait(self, exc: UnavailableError, backoff: Backoff) -> None:
        pause = backoff.next_seconds()
        self.progress.waits_for(type(exc).__name__)
        log.warning("source_waits", error=type(exc).__name__, pause_seconds=round(pause, 2))
        await wait_unless(self._stopping, pause)

    async def _read(self, writing: asyncio.Future[None]) -> tuple[Sequence[PartitionBatch], Decoding]:
        """The next batch, decoded, and when that was."""
        if self.share.must_ask():
            # what is being written now decides where to begin
            await asyncio.wait({writing})
            await self.share.follow()
        records = await self._source.poll(self._policy.max_records, self._policy.poll_seconds)
        if self.share.has_moved_on() or not records:
            return (), (0, 0)
        began = spans.now_ns()
        # in a thread: heartbeats and rebalances run on the loop, and a batch of hostile records takes its time
        decoded = await asyncio.to_thread(self._decoded, records, self._clock())
        pieces = () if self.share.has_moved_on() else self.share.cut(records, decoded)
        return pieces, (began, spans.now_ns())

    def _decoded(
        self, records: Mapping[Partition, Sequence[SourceRecord]], now: datetime
    ) -> Mapping[Partition, Sequence[DecodedRecord]]:
        return {partition: self._decode(partition.topic, batch, now) for partition, batch in records.items()}

    async def _write(self, pieces: Sequence[PartitionBatch], decoding: Decoding) -> None:
        with _batch_span(pieces, decoding):
            if pieces:
                await self.writer.write(pieces)
            is_clean = await self.writer.flush()
        if self._bumps.can_recover():
            # users whose bumps were thrown away are found again by reading from the hint, which stayed behind
            self._bumps.recovered()
            self.writer.hints.clear()
            self.share.forget_all()
        elif is_clean:
            self._leave_hint()
        self._note_progress(has_moved=bool(pieces))

    def _note_progress(self, *, has_moved: bool) -> None:
        lags = {partition: self._source.lag(partition) or 0 for partition in self.share.positions}
        is_behind = any(lags.values()) or not self._source.is_joined()
        self.progress.note(has_moved=has_moved, is_behind=is_behind)
        self._has_restarted = self._has_restarted and is_behind and not has_moved
        for partition, lag in lags.items():
            telemetry.CONSUMER_LAG.labels(partition.topic, partition.partition).set(lag)

    def _leave_hint(self) -> None:
        """Now and then, beside the work: a broker that is slow to take a hint must not slow the writing."""
        now = asyncio.get_running_loop().time()
        if not self.writer.hints or now - self._hinted_at < self._policy.hint_seconds:
            return
        if self._hinting is None or self._hinting.done():
            self._hinted_at = now
            hints, self.writer.hints = self.writer.hints, {}
            self._hinting = asyncio.ensure_future(self._source.commit(hints))

    async def _leave(self, writing: asyncio.Future[None]) -> None:
        """Stop fetching → finish the batch → leave the hint → leave the group."""
        await asyncio.wait({writing})
        if self._hinting is not None:
            await self._hinting
        if self.writer.hints and await self.writer.flush():
            await self._source.commit(self.writer.hints)
        await self._source.close()


def _batch_span(pieces: Sequence[PartitionBatch], decoding: Decoding) -> AbstractContextManager[object]:
    """What a batch does is part of the trace that its records came with, if one of them came with one."""
    if not pieces or not spans.is_collecting():
        return spans.NO_SPAN
    parents = [
        value.decode("latin-1")
        for piece in pieces
        for record in piece.records
        if record.headers
        for name, value in record.headers
        if name == "traceparent"
    ]
    facts: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": pieces[0].partition.topic,
        "messaging.batch.message_count": sum(map(len, pieces)),
    }
    return spans.batch(f"process {pieces[0].partition.topic}", parents, decoding, facts)


def _nothing() -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done
