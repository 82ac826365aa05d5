"""The ports besides the database (stores.py): cache, artifacts, vectors, jobs, events. Contracts in words.

For all ports: every call ends within its adapter's timeout and raises the matching UnavailableError then; no call
retries by itself; all times are timezone-aware UTC; all ids are the external text ids. One suite in tests/contract
runs over every adapter of a port, through the production opener.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.entities import OutboxMessage

# ── cache ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """A rate limit's answer: `remaining` hits in this window, which moves on in `reset_seconds` (≤ 60).

    Refused: `reset_seconds` is when the same would be allowed.
    """

    limit: int
    remaining: int
    reset_seconds: float
    allowed: bool


@dataclass(frozen=True, slots=True)
class CacheReply:
    """One round trip: the user's generation, the stored list (None = miss) and the quota (None = not asked).

    `has_lease`: the list is missing or stale, and it is this caller who should compute it. Whoever asks after that
    is told False until the list is written, the turn is given up, or a second has passed.
    """

    generation: int
    value: bytes | None
    quota: RateLimitStatus | None
    has_lease: bool = True


class Cache(Protocol):
    """Ready lists by (user, variant), generations by user, and rate limits. Everything in it may be lost at any time.

    A *generation* counts changes of a user's history. A value written under an older generation is never returned.
    `is_shared`: other processes see what this one writes, and its invalidations reach them.
    """

    is_shared: bool

    @abstractmethod
    async def read(self, user_id: str, variant: str, limit_per_minute: int | None, limit_key: str = "") -> CacheReply:
        """Generation, list and quota in one round trip. Counts one request if a limit is given.

        It counts against `limit_key`, or without one against `user:USER`, which no other caller's key can be.
        """

    @abstractmethod
    async def write(
        self,
        user_id: str,
        variant: str,
        generation: int,
        value: bytes,
        ttl_seconds: float,
        stale_seconds: float = 0.0,
    ) -> bool:
        """Store a list unless the generation has moved on; False then. Ends the turn. TTL gets ±10 % jitter.

        For `stale_seconds` after that it may still be returned, to all while one of them has the turn to renew it.
        """

    @abstractmethod
    async def release_lease(self, user_id: str, variant: str, generation: int) -> None:
        """End a turn without a list: the next to ask has it."""

    @abstractmethod
    async def bump(self, user_ids: Collection[str]) -> None:
        """Raise the generation of each user: no list written before is returned after this."""

    @abstractmethod
    async def erase(self, is_theirs: Callable[[str], bool]) -> int:
        """Remove what is held under the ids of users of whom `is_theirs` is true: lists, generations, turns, limits.

        Returns how many keys there were. Looks at every key: for people who are to be forgotten, not for lists that
        have changed. What was computed before cannot be written after it.
        """

    @abstractmethod
    async def hit(self, limit_key: str, limit_per_minute: int, cost: int = 1) -> RateLimitStatus:
        """Count `cost` hits where no list is read: all of them, or none if they are more than what is left.

        A sliding window of 60 s, counted by granules of a second: never more than the limit within any 60 s, and a hit
        is forgotten less than a second late.
        """

    @abstractmethod
    def invalidations(self) -> AsyncIterator[str | None]:
        """User ids bumped by any process; None means messages may have been lost: drop everything held nearby.

        The first message is None: from then on nothing is missed without saying so, once messages come again. Ends when
        the cache is closed.
        """

    @abstractmethod
    async def ping(self) -> None:
        """Answer or raise CacheUnavailableError."""

    @abstractmethod
    async def close(self) -> None:
        """Release connections."""


# ── artifacts, vectors, jobs, events ─────────────────────────────────────────────────────────────────────────────────


class ArtifactStore(Protocol):
    """Immutable objects by key (`models/hybrid/000012-…/manifest.json`). Blocking calls run in a thread."""

    @abstractmethod
    async def put(self, key: str, data: bytes) -> None:
        """Write once, whole or not at all. Raises ObjectExistsError if the key is written, even by the same bytes."""

    @abstractmethod
    async def get(self, key: str, max_bytes: int) -> bytes:
        """The object. Raises ArtifactMissingError, or ArtifactDamagedError if it is larger than `max_bytes`."""

    @abstractmethod
    async def list(self, prefix: str) -> Sequence[str]:
        """Keys that start with `prefix`, sorted."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove; no error if it is not there."""

    @abstractmethod
    async def ping(self) -> None:
        """Answer or raise ArtifactsUnavailableError."""

    @abstractmethod
    async def close(self) -> None:
        """Release connections."""


class VectorIndex(Protocol):
    """Maximum inner product search over one tower's item vectors; immutable once built, safe from several threads."""

    @abstractmethod
    def search(
        self, queries: NDArray[np.float32], k: int, excluded: NDArray[np.int32] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """((n, k) positions, (n, k) scores), best first; position -1 where fewer than k are left after `excluded`."""

    @property
    @abstractmethod
    def facts(self) -> Mapping[str, object]:
        """Kind, size, bytes and the recall against flat search measured when it was built (1.0 for flat)."""


class JobQueue(Protocol):
    """Tells some worker that work waits; the truth is in TrainingStore and ReportStore.

    `needs_ticks`: no scheduler runs beside it, so the process that opened it has to tick.
    """

    needs_ticks: bool

    @abstractmethod
    async def submit(self, training_id: str) -> None:
        """Ring. At least once: a worker that finds nothing queued does nothing. Raises BrokerUnavailableError."""

    @abstractmethod
    async def depth(self) -> int:
        """How many rings nobody has answered yet."""

    @abstractmethod
    async def close(self) -> None:
        """Stop what this process started."""


class EventPublisher(Protocol):
    """Outgoing events (docs/design.md §6)."""

    @abstractmethod
    async def publish(self, messages: Sequence[OutboxMessage]) -> None:
        """Hand over to the broker and wait for its acknowledgement. Raises BrokerUnavailableError; some may be out."""

    @abstractmethod
    async def erase(self, topic: str, keys: Sequence[str]) -> int | None:
        """Declare what was published under these keys void: a compacted topic forgets it (a tombstone for each key).

        How many messages were found; None where only the broker could say. A topic that is not there is left so.
        Raises BrokerUnavailableError.
        """

    @abstractmethod
    async def ping(self) -> None:
        """Answer or raise BrokerUnavailableError."""

    @abstractmethod
    async def close(self) -> None:
        """Flush within a bound and close."""


class Partition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


class SourceRecord(Protocol):
    """A record as the log holds it; `timestamp` is Unix milliseconds, of its producer or of the broker."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """What the log says of a partition: the oldest offset it still has, the next it will give, the group's committed
    offset (a hint, None where there is none), and `epoch`, which a recreated topic or another cluster changes."""

    first_offset: int
    end_offset: int
    committed: int | None
    epoch: str


class EventSource(Protocol):
    """One member of a consumer group. Positions are the caller's: it seeks before it uses what `poll` returns.

    A rebalance may happen at any time, so records in hand may belong to another member already: fence what you write.
    No call but `poll` joins the group.
    """

    @abstractmethod
    async def poll(self, max_records: int, timeout_seconds: float) -> Mapping[Partition, Sequence[SourceRecord]]:
        """Records of assigned, unpaused partitions, each in offset order; empty after the timeout.

        Raises BrokerUnavailableError; every position is lost then, as after a rebalance.
        """

    @abstractmethod
    def assignment(self) -> tuple[int, frozenset[Partition]]:
        """(version, partitions now ours). The version rises whenever positions are lost, even if nothing changed."""

    @abstractmethod
    def is_joined(self) -> bool:
        """Whether the group has given us our share, which may be empty; False before that and during a rebalance."""

    @abstractmethod
    async def facts(self, partitions: Collection[Partition]) -> Mapping[Partition, PartitionFacts]:
        """Ask the log, once for all of them. Raises BrokerUnavailableError."""

    @abstractmethod
    def seek(self, partition: Partition, offset: int) -> bool:
        """Continue there; False if the partition is not ours (any more)."""

    @abstractmethod
    def pause(self, partition: Partition) -> None:
        """Return nothing of it until `resume`; nothing happens if it is not ours. A rebalance forgets pauses."""

    @abstractmethod
    def resume(self, partition: Partition) -> None:
        """Undo `pause`."""

    @abstractmethod
    def lag(self, partition: Partition) -> int | None:
        """Records between the position and the end of the log as last heard of; None if unknown."""

    @abstractmethod
    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Leave a hint for whoever comes next; False if it could not be left, which does no harm."""

    @abstractmethod
    async def close(self) -> None:
        """Leave the group and release connections, within a bound. A later `poll` joins again."""
