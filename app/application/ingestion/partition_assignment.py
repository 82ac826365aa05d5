"""A consumer's share of the log: which partitions it holds, how far it is with each, and which are set aside."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from app import telemetry
from app.application.ingestion.batch_planning import (
    DecodedRecord,
    PartitionBatch,
    PartitionPosition,
    ReadStart,
    start_of,
)
from app.domain.entities import SourceOffset
from app.domain.interfaces import EventSource, Partition, PartitionFacts, SourceRecord
from app.domain.stores import InteractionStore

log = telemetry.get_logger(__name__)


class PartitionAssignment:
    """Positions by partition. A *ticket* numbers each time a partition was positioned: what was read under an earlier
    one is dropped, because somebody else may have taken it in since."""

    def __init__(self, source: EventSource, store: InteractionStore) -> None:
        self._source = source
        self._store = store
        self._version = 0
        self._tickets = 0
        self._positions: dict[Partition, PartitionPosition] = {}
        self._parked: dict[Partition, float] = {}

    @property
    def parked(self) -> Collection[Partition]:
        """Partitions set aside because of poison."""
        return self._parked.keys()

    @property
    def positions(self) -> Mapping[Partition, PartitionPosition]:
        return self._positions

    def is_current(self, piece: PartitionBatch) -> bool:
        """Whether the piece was read under the position the partition has now."""
        position = self._positions.get(piece.partition)
        return position is not None and position.ticket == piece.ticket

    def forget(self, partition: Partition) -> None:
        """Its position is no longer trusted: the next `follow` asks the database."""
        self._positions.pop(partition, None)

    def forget_all(self) -> None:
        self._positions.clear()

    def park(self, partition: Partition, limit: str, seconds: float) -> None:
        """Read nothing of it for a while: an alarm, not a drain."""
        self.forget(partition)
        self._parked[partition] = asyncio.get_running_loop().time() + seconds
        self._source.pause(partition)
        _show_parked(partition, True)
        log.error("partition_parked", topic=partition.topic, partition=partition.partition, limit=limit)

    async def follow(self) -> None:
        """Take note of rebalances, take parked partitions back when it is time, and position what has no position.

        Raises UnavailableError when database or log do not answer; nothing is half-positioned then.
        """
        version, owned = self._source.assignment()
        if version != self._version:
            self._start_over(version, owned)
        now = asyncio.get_running_loop().time()
        for partition in [held for held, until in self._parked.items() if until <= now]:
            self._unpark(partition)
        if lost := sorted(owned - self._positions.keys() - self._parked.keys()):
            await self._position(lost)

    def must_ask(self) -> bool:
        """Whether `follow` has anything to do."""
        version, owned = self._source.assignment()
        now = asyncio.get_running_loop().time()
        is_due = any(until <= now for until in self._parked.values())
        return version != self._version or is_due or bool(owned - self._positions.keys() - self._parked.keys())

    def cut(
        self, records: Mapping[Partition, Sequence[SourceRecord]], decoded: Mapping[Partition, Sequence[DecodedRecord]]
    ) -> Sequence[PartitionBatch]:
        """The pieces of what was read, of the partitions that (still) have a position."""
        return [
            piece
            for partition, batch in records.items()
            if (position := self._positions.get(partition)) is not None
            for piece in position.cut(partition, batch, decoded[partition])
        ]

    def has_moved_on(self) -> bool:
        """Whether a rebalance came since `follow`: what was read since may be anybody's."""
        return self._source.assignment()[0] != self._version

    def _start_over(self, version: int, owned: Collection[Partition]) -> None:
        self._version = version
        self._positions.clear()
        for partition in self._parked:
            if partition in owned:
                self._source.pause(partition)  # the rebalance has forgotten it
            else:
                _show_parked(partition, False)
        self._parked = {held: until for held, until in self._parked.items() if held in owned}
        telemetry.CONSUMER_REBALANCES.inc()
        log.info("partitions_assigned", partitions=len(owned), version=version)

    def _unpark(self, partition: Partition) -> None:
        del self._parked[partition]
        self._source.resume(partition)
        _show_parked(partition, False)

    async def _position(self, partitions: Sequence[Partition]) -> None:
        """All at once: between a rebalance and its first record a member asks each side only once."""
        stored = await self._stored({partition.topic for partition in partitions})
        facts = await self._source.facts(partitions)
        starts = {partition: start_of(stored.get(partition), facts[partition]) for partition in partitions}
        hints = {partition: start.offset for partition, start in starts.items() if facts[partition].committed is None}
        if hints:
            # From here on a crash between transaction and bump leaves a hint that is behind (docs/design.md §8).
            await self._source.commit(hints)
        if not self.has_moved_on():
            for partition, start in starts.items():
                self._begin(partition, start, facts[partition])

    async def _stored(self, topics: Collection[str]) -> Mapping[Partition, SourceOffset]:
        return {
            Partition(topic, offset.partition): offset
            for topic in sorted(topics)
            for offset in await self._store.offsets(topic)
        }

    def _begin(self, partition: Partition, start: ReadStart, facts: PartitionFacts) -> None:
        if not self._source.seek(partition, start.offset):
            return
        self._tickets += 1
        self._positions[partition] = PartitionPosition(
            self._tickets, facts.epoch, start.offset, start.stored, start.bump_below, start.gap
        )
        _log_start(partition, start, facts)


def _show_parked(partition: Partition, is_parked: bool) -> None:
    telemetry.CONSUMER_PAUSED.labels(partition.topic, partition.partition, "poison").set(is_parked)


def _log_start(partition: Partition, start: ReadStart, facts: PartitionFacts) -> None:
    place = {"topic": partition.topic, "partition": partition.partition}
    if start.gap is not None:
        gap = start.gap
        telemetry.CONSUMER_GAPS.labels(partition.topic, gap.reason).inc()
        log.error("records_gone", **place, reason=gap.reason, from_offset=gap.start, to_offset=gap.end)
    log.info("partition_positioned", **place, offset=start.offset, replay_below=start.bump_below, end=facts.end_offset)
