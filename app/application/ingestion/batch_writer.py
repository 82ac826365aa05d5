"""One batch of records into the database, whatever happens: the part of the consumer that writes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from app import spans, telemetry
from app.application.ingestion.batch_planning import PartitionBatch, PoisonPolicy, Rejected, admit_records
from app.application.ingestion.consumer_progress import ConsumerProgress
from app.application.ingestion.dead_letters import RecordLocation, gap_letter, letter_of, message_of
from app.application.ingestion.event_decoding import ItemRemoval
from app.application.ingestion.partition_assignment import PartitionAssignment
from app.application.invalidation.generation_bumps import PendingBumps
from app.application.waiting import Backoff, wait_unless
from app.domain.entities import DeadLetter, IngestResult, Interaction, Item, OutboxMessage, SourceOffset
from app.domain.exceptions import DatabaseUnavailableError, StaleTokenError
from app.domain.interfaces import Partition, SourceRecord
from app.domain.stores import Database, IngestBatch

log = telemetry.get_logger(__name__)

UNPROCESSABLE = "unprocessable"
"""The reason of a record that decodes, and that the database refuses for a cause of its own."""


@dataclass(slots=True)
class BatchEffects:
    """What a batch of pieces does, gathered from their records."""

    interactions: list[Interaction]
    origins: list[tuple[RecordLocation, SourceRecord]]
    items: list[Item]
    removals: list[ItemRemoval]
    letters: list[DeadLetter]
    messages: list[OutboxMessage]


class BatchWriter:
    """Writes pieces in order. A database that is away is waited for; a fence that holds ends the piece; anything else
    is cut in halves until the one record that causes it stands alone and becomes a dead letter."""

    def __init__(
        self,
        database: Database,
        share: PartitionAssignment,
        bumps: PendingBumps,
        clock: Callable[[], datetime],
        policy: PoisonPolicy,
        progress: ConsumerProgress,
        stopping: asyncio.Event,
    ) -> None:
        self._database = database
        self._share = share
        self._bumps = bumps
        self._clock = clock
        self._policy = policy
        self._progress = progress
        self._stopping = stopping
        self.hints: dict[Partition, int] = {}
        self._unseen: deque[float] = deque(maxlen=10_000)

    async def write(self, pieces: Sequence[PartitionBatch]) -> None:
        """Take in what of the pieces is still ours. Returns once it is stored, refused, or the process stops."""
        current = [piece for piece in pieces if self._share.is_current(piece)]
        replayed = [piece for piece in current if piece.is_replay]
        fresh = [piece for piece in current if not piece.is_replay]
        admitted = [self._admitted(piece) for piece in fresh]
        if replayed:
            self._done(replayed, _users(replayed))
        await self._store(admitted)
        for piece, kept in zip(fresh, admitted, strict=True):
            if len(kept) < len(piece):
                self._share.park(piece.partition, "poison", self._policy.pause_seconds)
        await self.flush()

    async def flush(self) -> bool:
        """Renew lists that wait for it. True if the hints may be left in the log."""
        with spans.span("invalidate"):
            is_clean = await self._bumps.flush()
        if is_clean:
            now = time.time()
            for since in self._unseen:
                telemetry.FRESHNESS_SECONDS.labels("kafka").observe(max(now - since, 0.0))
            self._unseen.clear()
        return is_clean

    def _admitted(self, piece: PartitionBatch) -> PartitionBatch:
        position = self._share.positions[piece.partition]
        admission = admit_records(self._policy, position.poison, len(piece), piece.invalid())
        position.poison = admission.poison
        return piece.first(admission.taken)

    async def _store(self, pieces: Sequence[PartitionBatch]) -> None:
        """Store the pieces together; where that cannot be, one by one, then half by half."""
        backoff = Backoff(first_seconds=0.1, max_seconds=5.0)
        while pieces and not (self._stopping.is_set() and backoff.failures > 1):
            try:
                with spans.span("store"):
                    await self._transaction(pieces)
            except DatabaseUnavailableError:
                await self._wait(backoff)
            except StaleTokenError:
                await self._fenced(pieces)
                return
            except Exception as exc:  # noqa: BLE001 - a cause nobody foresaw must cost one record, not the topic
                log.warning("batch_cut", error=type(exc).__name__, records=sum(map(len, pieces)))
                await self._cut(pieces)
                return
            else:
                return

    async def _wait(self, backoff: Backoff) -> None:
        self._progress.waits_for("DatabaseUnavailableError")
        pause = backoff.next_seconds()
        log.warning("database_away", pause_seconds=round(pause, 2))
        await wait_unless(self._stopping, pause)

    async def _fenced(self, pieces: Sequence[PartitionBatch]) -> None:
        """Somebody else wrote to one of the partitions; the others may still be ours."""
        if len(pieces) == 1:
            partition = pieces[0].partition
            telemetry.CONSUMER_FENCED.labels(partition.topic).inc()
            log.warning("fenced", topic=partition.topic, partition=partition.partition)
            self._share.forget(partition)
            return
        for piece in pieces:
            await self._store([piece])

    async def _cut(self, pieces: Sequence[PartitionBatch]) -> None:
        if len(pieces) == 1 and len(pieces[0]) == 1:
            await self._refuse(pieces[0])
            return
        for part in pieces if len(pieces) > 1 else pieces[0].halves():
            # what one part met (a fence, too much poison) may have ended the partition for the next
            if self._share.is_current(part):
                await self._store([part])

    async def _refuse(self, piece: PartitionBatch) -> None:
        """The one record that fails alone: a dead letter, unless it is one too many."""
        if isinstance(piece.decoded[0], Rejected):
            # it is a dead letter already, and not even that can be stored: stop instead of skipping it
            self._share.park(piece.partition, UNPROCESSABLE, self._policy.pause_seconds)
            return
        position = self._share.positions[piece.partition]
        admission = admit_records(self._policy, position.poison, 1, [0])
        position.poison = admission.poison
        await self._store([piece.rejected(UNPROCESSABLE)])
        if admission.limit:
            self._share.park(piece.partition, admission.limit, self._policy.pause_seconds)

    async def _transaction(self, pieces: Sequence[PartitionBatch]) -> None:
        started = time.perf_counter()
        effects = _effects(pieces, self._clock())
        # Catalog changes are idempotent and the newest wins, so they may be repeated: the offset follows them.
        if effects.items:
            await self._database.catalog.upsert_items(effects.items)
        for removal in effects.removals:
            await self._database.catalog.remove_items([removal.item_id], removal.at)
        result = await self._database.interactions.ingest(self._batch(pieces, effects))
        telemetry.INGEST_SECONDS.labels("kafka").observe(time.perf_counter() - started, spans.exemplar())
        _count(effects, result)
        self._done(pieces, result.touched)

    def _batch(self, pieces: Sequence[PartitionBatch], effects: BatchEffects) -> IngestBatch:
        def on_conflict(index: int) -> tuple[DeadLetter, Sequence[OutboxMessage]]:
            place, record = effects.origins[index]
            letter = letter_of(place, record, "id_conflict", self._clock())
            return letter, [message_of(place, record, letter)]

        return IngestBatch(
            interactions=effects.interactions,
            dead_letters=effects.letters,
            offsets=[(piece.stored, _offset(piece)) for piece in pieces],
            messages=effects.messages,
            on_conflict=on_conflict,
        )

    def _done(self, pieces: Sequence[PartitionBatch], users: Collection[str]) -> None:
        self._bumps.add(users)
        for piece in pieces:
            self.hints[piece.partition] = piece.next_offset
            # the record that waited longest; one a piece, so that measuring costs nothing
            self._unseen.append(piece.records[0].timestamp / 1_000)


def _offset(piece: PartitionBatch) -> SourceOffset:
    return SourceOffset(piece.partition.topic, piece.partition.partition, piece.next_offset, piece.epoch)


def _users(pieces: Sequence[PartitionBatch]) -> set[str]:
    return {event.user_id for piece in pieces for event in piece.decoded if type(event) is Interaction}


def _effects(pieces: Sequence[PartitionBatch], now: datetime) -> BatchEffects:
    effects = BatchEffects([], [], [], [], [], [])
    for piece in pieces:
        place = RecordLocation(piece.partition, piece.epoch)
        if piece.gap is not None:
            effects.letters.append(gap_letter(place, piece.gap, now))
        for record, event in zip(piece.records, piece.decoded, strict=True):
            if type(event) is Interaction:
                effects.interactions.append(event)
                effects.origins.append((place, record))
            elif type(event) is Item:
                effects.items.append(event)
            elif type(event) is ItemRemoval:
                effects.removals.append(event)
            else:
                assert type(event) is Rejected
                letter = letter_of(place, record, event.reason, now)
                effects.letters.append(letter)
                effects.messages.append(message_of(place, record, letter))
    return effects


def _count(effects: BatchEffects, result: IngestResult) -> None:
    for outcome, number in Counter(result.outcomes).items():
        telemetry.EVENTS.labels("kafka", outcome.value).inc(number)
    for reason, number in Counter(letter.reason for letter in effects.letters).items():
        telemetry.EVENTS.labels("kafka", "rejected").inc(number)
        telemetry.EVENTS_REJECTED.labels("kafka", reason).inc(number)
    for (place, record), event in zip(effects.origins, effects.interactions, strict=True):
        if record.key is not None and record.key != event.user_id.encode():
            telemetry.CONSUMER_KEY_MISMATCHES.labels(place.partition.topic).inc()
