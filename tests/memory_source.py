"""A log in memory with the rules of the real one: partitions, offsets, a committed hint, rebalances on demand."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.exceptions import BrokerUnavailableError
from app.domain.interfaces import EventSource, Partition, PartitionFacts, SourceRecord


@dataclass(frozen=True, slots=True)
class MemoryRecord(SourceRecord):
    """One record of the log in memory."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(slots=True)
class MemoryLog:
    """What the brokers hold: records by partition, the group's hints, one epoch a topic. Shared by its sources."""

    records: dict[Partition, list[MemoryRecord]] = field(default_factory=dict)
    committed: dict[Partition, int] = field(default_factory=dict)
    epochs: dict[str, str] = field(default_factory=lambda: defaultdict(lambda: "memory/1"))
    is_up: bool = True

    def append(
        self,
        partition: Partition,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp: int = 0,
    ) -> int:
        """Add a record; returns its offset."""
        records = self.records.setdefault(partition, [])
        offset = records[-1].offset + 1 if records else 0
        records.append(MemoryRecord(offset, timestamp, key, value, headers))
        return offset

    def end(self, partition: Partition) -> int:
        records = self.records.get(partition)
        return records[-1].offset + 1 if records else 0


class MemorySource(EventSource):
    """A member that owns the partitions it is told to own."""

    def __init__(self, log: MemoryLog, owned: Collection[Partition]) -> None:
        self._log = log
        self._owned = frozenset(owned)
        self._version = 1
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()

    def rebalance(self, owned: Collection[Partition]) -> None:
        """What the group would do: positions and pauses are gone, even of partitions that stay."""
        self._owned = frozenset(owned)
        self._version += 1
        self._positions.clear()
        self._paused.clear()

    async def poll(self, max_records: int, timeout_seconds: float) -> Mapping[Partition, Sequence[SourceRecord]]:
        if not self._log.is_up:
            self.rebalance(self._owned)
            await asyncio.sleep(timeout_seconds)
            raise BrokerUnavailableError("the log is away")
        taken: dict[Partition, Sequence[SourceRecord]] = {}
        for partition in sorted(self._owned - self._paused):
            records = self._next(partition, max_records - sum(map(len, taken.values())))
            if records:
                taken[partition] = records
                self._positions[partition] = records[-1].offset + 1
        # a poll always gives others a turn, as one that talks to a broker would
        await asyncio.sleep(0 if taken else timeout_seconds)
        return taken

    def assignment(self) -> tuple[int, frozenset[Partition]]:
        return self._version, self._owned

    def is_joined(self) -> bool:
        return self._log.is_up

    async def facts(self, partitions: Collection[Partition]) -> Mapping[Partition, PartitionFacts]:
        if not self._log.is_up:
            raise BrokerUnavailableError("the log is away")
        return {partition: self._facts(partition) for partition in partitions}

    def _facts(self, partition: Partition) -> PartitionFacts:
        records = self._log.records.get(partition)
        return PartitionFacts(
            first_offset=records[0].offset if records else 0,
            end_offset=self._log.end(partition),
            committed=self._log.committed.get(partition),
            epoch=self._log.epochs[partition.topic],
        )

    def seek(self, partition: Partition, offset: int) -> bool:
        if partition not in self._owned:
            return False
        self._positions[partition] = offset
        return True

    def pause(self, partition: Partition) -> None:
        self._paused.add(partition)

    def resume(self, partition: Partition) -> None:
        self._paused.discard(partition)

    def lag(self, partition: Partition) -> int | None:
        position = self._positions.get(partition)
        return None if position is None else self._log.end(partition) - position

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        if self._log.is_up:
            self._log.committed.update(offsets)
        return self._log.is_up

    async def close(self) -> None:
        self.rebalance(())

    def _next(self, partition: Partition, room: int) -> Sequence[MemoryRecord]:
        position = self._positions.get(partition, self._log.committed.get(partition, 0))
        records = self._log.records.get(partition, [])
        return [record for record in records if record.offset >= position][: max(room, 0)]
