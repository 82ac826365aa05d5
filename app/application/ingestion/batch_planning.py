"""What to do with a batch from the log: where to start, how much poison to swallow, how to cut a batch that fails.

Pure functions; the loop that reads, writes and waits is in consuming.py.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from app.application.ingestion.event_decoding import ItemRemoval
from app.domain.entities import Interaction, Item, SourceOffset
from app.domain.interfaces import Partition, PartitionFacts, SourceRecord


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that can never be taken in; `reason` is EventRejectedError's."""

    reason: str


DecodedRecord = Interaction | Item | ItemRemoval | Rejected
"""What one record turned out to be."""


@dataclass(frozen=True, slots=True)
class OffsetGap:
    """Records the log lost, or renumbered, before we saw them: [`start`, `end`) of the old numbering."""

    reason: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ReadStart:
    """Where to begin with a partition.

    Read from `offset`. Records below `bump_below` are in the database; only their users' lists are renewed. `stored`
    is what the fence expects to find.
    """

    offset: int
    stored: int
    bump_below: int
    gap: OffsetGap | None = None


def start_of(stored: SourceOffset | None, facts: PartitionFacts) -> ReadStart:
    """Where to begin: at the database's offset, or at the hint where that is behind it (docs/design.md §8).

    The database is the truth: a hint ahead of it is ignored. An offset of another incarnation of the topic, or beyond
    its end, says nothing about this one: everything is read again, which event ids make harmless.
    """
    if stored is None:
        return ReadStart(facts.first_offset, stored=0, bump_below=facts.first_offset)
    if stored.epoch != facts.epoch or stored.next_offset > facts.end_offset:
        gap = OffsetGap("topic_recreated", stored.next_offset, stored.next_offset)
        return ReadStart(facts.first_offset, stored.next_offset, facts.first_offset, gap)
    if stored.next_offset < facts.first_offset:
        gap = OffsetGap("offset_gap", stored.next_offset, facts.first_offset)
        return ReadStart(facts.first_offset, stored.next_offset, facts.first_offset, gap)
    hint = stored.next_offset if facts.committed is None else min(facts.committed, stored.next_offset)
    return ReadStart(max(hint, facts.first_offset), stored.next_offset, stored.next_offset)


@dataclass(frozen=True, slots=True)
class PoisonPolicy:
    """How much poison a partition may bring before it is paused (the idea: Arroyo's DlqLimit).

    A burst of records that nobody can read is a broken producer, not a reason to move the topic to the dead letters.
    """

    max_consecutive: int = 100
    max_ratio: float = 0.2
    min_seen: int = 500
    window: int = 1_000
    pause_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class PoisonCounts:
    """What a partition brought lately. Counts are halved when `seen` reaches the window, so old records fade."""

    consecutive: int = 0
    seen: float = 0.0
    invalid: float = 0.0


@dataclass(frozen=True, slots=True)
class AdmittedRecords:
    """The first `taken` records may go in; `limit` names the limit that stopped the rest."""

    taken: int
    poison: PoisonCounts
    limit: str | None = None


def admit_records(policy: PoisonPolicy, poison: PoisonCounts, count: int, invalid: Sequence[int]) -> AdmittedRecords:
    """How many of `count` records to take in, when those at the positions `invalid` (ascending) are poison."""
    at = 0
    for position in invalid:
        poison = _after(policy, poison, position - at, 0)
        poison = _after(policy, poison, 0, 1)
        at = position + 1
        if limit := _exceeded(policy, poison):
            return AdmittedRecords(at, poison, limit)
    return AdmittedRecords(count, _after(policy, poison, count - at, 0))


def _after(policy: PoisonPolicy, poison: PoisonCounts, valid: int, invalid: int) -> PoisonCounts:
    seen, bad = poison.seen + valid + invalid, poison.invalid + invalid
    if seen >= policy.window:
        share = policy.window / 2 / seen
        seen, bad = seen * share, bad * share
    return PoisonCounts(0 if valid else poison.consecutive + invalid, seen, bad)


def _exceeded(policy: PoisonPolicy, poison: PoisonCounts) -> str | None:
    if poison.consecutive > policy.max_consecutive:
        return "consecutive"
    if poison.seen >= policy.min_seen and poison.invalid > policy.max_ratio * poison.seen:
        return "ratio"
    return None


@dataclass(frozen=True, slots=True)
class PartitionBatch:
    """Consecutive records of one partition, decoded. `stored` is what the fence expects; `ticket` says under which
    assignment they were read: a piece of an earlier one is dropped. Of a replay only the users' lists are renewed."""

    partition: Partition
    ticket: int
    epoch: str
    stored: int
    next_offset: int
    records: Sequence[SourceRecord]
    decoded: Sequence[DecodedRecord]
    gap: OffsetGap | None = None
    is_replay: bool = False

    def __len__(self) -> int:
        return len(self.records)

    def invalid(self) -> list[int]:
        """Positions of poison."""
        return [index for index, outcome in enumerate(self.decoded) if type(outcome) is Rejected]

    def first(self, count: int) -> PartitionBatch:
        """The piece that holds the first `count` records."""
        if count == len(self.records):
            return self
        return replace(
            self,
            records=self.records[:count],
            decoded=self.decoded[:count],
            next_offset=self.records[count].offset,
        )

    def halves(self) -> tuple[PartitionBatch, PartitionBatch]:
        """Two pieces that say the same as this one, one after the other."""
        middle = len(self.records) // 2
        left = self.first(middle)
        right = replace(
            self,
            records=self.records[middle:],
            decoded=self.decoded[middle:],
            stored=left.next_offset,
            gap=None,
        )
        return left, right

    def rejected(self, reason: str) -> PartitionBatch:
        """The same piece, its records declared poison."""
        return replace(self, decoded=[Rejected(reason)] * len(self.records))


@dataclass(slots=True)
class PartitionPosition:
    """How far the reader is with a partition. `stored` is what the fence will find once all that was read is in."""

    ticket: int
    epoch: str
    next_offset: int
    stored: int
    bump_below: int
    gap: OffsetGap | None = None
    poison: PoisonCounts = field(default_factory=PoisonCounts)

    def cut(
        self, partition: Partition, records: Sequence[SourceRecord], decoded: Sequence[DecodedRecord]
    ) -> Sequence[PartitionBatch]:
        """The pieces that `records` make, the replayed part first; moves the position behind them."""
        fresh = bisect_left(records, self.bump_below, key=lambda record: record.offset)
        pieces = []
        for start, stop in ((0, fresh), (fresh, len(records))):
            if start < stop:
                pieces.append(self._piece(partition, records[start:stop], decoded[start:stop], stop == fresh))
        return pieces

    def _piece(
        self, partition: Partition, records: Sequence[SourceRecord], decoded: Sequence[DecodedRecord], is_replay: bool
    ) -> PartitionBatch:
        self.next_offset = records[-1].offset + 1
        piece = PartitionBatch(
            partition, self.ticket, self.epoch, self.stored, self.next_offset, records, decoded, self.gap, is_replay
        )
        if not is_replay:
            self.stored, self.gap = self.next_offset, None
        return piece
