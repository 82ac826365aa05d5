"""The database ports: what Encore asks of its store of record. Contracts in words, as in interfaces.py.

Every call ends within the adapter's timeout and raises DatabaseUnavailableError then; none retries by itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from app.domain.audit import AuditStore
from app.domain.canary import CanaryStore
from app.domain.entities import (
    DeadLetter,
    EventColumns,
    IngestResult,
    Interaction,
    Item,
    OutboxMessage,
    PairState,
    SourceOffset,
    User,
)
from app.domain.experiment_store import ExperimentStore
from app.domain.import_store import ImportStore
from app.domain.key_store import ApiKeyStore
from app.domain.queue_stores import DeadLetterStore, OutboxStore
from app.domain.reports import ReportStore
from app.domain.request_log import RequestLogStore
from app.domain.training_stores import ModelStore, TrainingStore


@dataclass(frozen=True, slots=True)
class IngestBatch:
    """What one transaction takes in: interactions, dead letters and the offsets they came from, all or nothing.

    `offsets` are fenced: (next offset stored before the batch, 0 where none is stored; what is stored after it) per
    partition. Where something else is stored, somebody else has written and the batch is refused with StaleTokenError,
    nothing of it stored. `messages` go to the outbox. `on_conflict(i)` says what to keep of the i-th interaction if
    its id is known with other content. `import_id`: the import that owns the rows; ConflictError if it is being undone.
    """

    interactions: Sequence[Interaction]
    dead_letters: Sequence[DeadLetter] = ()
    offsets: Sequence[tuple[int, SourceOffset]] = ()
    messages: Sequence[OutboxMessage] = ()
    on_conflict: Callable[[int], tuple[DeadLetter | None, Sequence[OutboxMessage]]] | None = None
    import_id: str | None = None


class InteractionStore(Protocol):
    """The append-only history and the user×item state derived from it. `bulk_rows`: rows of an import's batch."""

    bulk_rows: int

    @abstractmethod
    async def ingest(self, batch: IngestBatch) -> IngestResult:
        """Take in a batch in one transaction; idempotent by `event_id`, in any order, across and within batches.

        Known id with the same content: DUPLICATE; with other content: CONFLICT (first wins). State and counters come
        from newly inserted rows only. Users and items never seen before are created (without a profile, without
        catalog data). What an erased user did up to the erasure is dropped: TOMBSTONED. `touched` holds the users of
        accepted interactions.
        """

    @abstractmethod
    async def known_ids(self, user_id: str, event_ids: Collection[UUID]) -> Collection[UUID]:
        """Those of the ids under which an event of this very user is stored."""

    @abstractmethod
    async def history(self, user_id: str, limit: int) -> Sequence[PairState]:
        """The newest `limit` pair states of a user, newest first; empty for an unknown user. One indexed read."""

    @abstractmethod
    async def columns(self, since: datetime | None, until: datetime | None) -> EventColumns:
        """All interactions with since ≤ occurred_at < until as arrays, by the fastest bulk read the driver has."""

    @abstractmethod
    def export(self, batch_size: int = 5_000) -> AsyncIterator[Sequence[Interaction]]:
        """Every interaction in insertion order, in batches; one consistent snapshot is not promised."""

    @abstractmethod
    async def users_since(self, sequence: int, limit: int) -> tuple[Collection[str], int]:
        """Users with interactions inserted after `sequence`, and the newest sequence seen (0 = from the beginning).

        A negative `sequence` asks where the end is: no users, and the sequence after which all that follows is new.
        """

    @abstractmethod
    async def offsets(self, topic: str) -> Sequence[SourceOffset]:
        """The stored offsets of a topic's partitions, by partition."""

    @abstractmethod
    async def count(self) -> int:
        """Number of interactions."""

    @abstractmethod
    async def misplaced(self) -> int:
        """Rows that no monthly partition took, which an operator has to move; 0 where there are no partitions."""

    @abstractmethod
    async def popular(self, since: datetime, limit: int) -> Sequence[tuple[str, float]]:
        """(item_id, distinct users) with interactions since then, most first: the fallback when there is no model."""


class CatalogStore(Protocol):
    """Items and user profiles."""

    @abstractmethod
    async def upsert_items(self, items: Sequence[Item]) -> int:
        """Write items whole; one with an older `updated_at` than the stored loses silently. Returns how many won.

        Every call that changes anything gives the changed items a new, higher `revision`. InputError: a reserved id.
        """

    @abstractmethod
    async def item_times(self, item_ids: Collection[str]) -> Mapping[str, datetime]:
        """When each of these items that are known was changed or removed; at most some thousand ids."""

    @abstractmethod
    async def user_times(self, user_ids: Collection[str]) -> Mapping[str, datetime]:
        """As `item_times`, of profiles."""

    @abstractmethod
    async def get_item(self, item_id: str) -> Item | None:
        """The item, or None if it was never upserted or is removed (one only known from interactions is None too)."""

    @abstractmethod
    async def remove_items(self, item_ids: Collection[str], at: datetime) -> int:
        """Mark items as removed (their interactions stay). Newest wins against upserts. Returns how many went.

        An id never seen is marked too, and not counted: an older upsert that arrives later must lose.
        """

    @abstractmethod
    async def replace_item(self, seen: Item | None, new: Item) -> bool:
        """Write `new` as `upsert_items` does if what is there is `seen` (None: nothing); else False, nothing done."""

    @abstractmethod
    async def list_items(self, after: str | None, limit: int, words: str = "") -> Sequence[Item]:
        """Up to `limit` items in item_id order, strictly after `after`; with `words`, those in whose title or id
        they stand, whatever the case of letters (beyond ASCII as the database has it)."""

    @abstractmethod
    async def items_since(self, revision: int, limit: int) -> tuple[Sequence[Item], Collection[str], int]:
        """(upserted, removed ids, newest revision) of changes after `revision`, oldest first (0 = everything)."""

    @abstractmethod
    async def upsert_users(self, users: Sequence[User]) -> int:
        """Write profiles whole, newest `updated_at` wins. Raises InputError for a reserved user id."""

    @abstractmethod
    async def get_user(self, user_id: str) -> User | None:
        """The profile, or None; a user known only from interactions has one without attributes."""

    @abstractmethod
    async def remove_user(self, user_id: str, until: datetime) -> bool:
        """Delete profile, interactions and state of a user; False, and nothing done, if unknown.

        What occurred up to `until` is never taken in again, however late it comes or how often it is replayed. Waits
        for batches that are being written, and they for this.
        """

    @abstractmethod
    async def readmit_users(
        self, user_ids: Collection[str], now: datetime, until: Callable[[datetime], datetime]
    ) -> int:
        """Where what occurs at `now` would be dropped, drop up to `until(stored)`, if earlier; for how many users."""

    @abstractmethod
    async def list_users(self, after: str | None, limit: int) -> Sequence[User]:
        """Up to `limit` users in user_id order, strictly after `after`."""


class Database(Protocol):
    """One database: `open_database(url, …)` returns it; every store shares its pool."""

    interactions: InteractionStore
    catalog: CatalogStore
    trainings: TrainingStore
    models: ModelStore
    canaries: CanaryStore
    outbox: OutboxStore
    dead_letters: DeadLetterStore
    api_keys: ApiKeyStore
    reports: ReportStore
    experiments: ExperimentStore
    request_log: RequestLogStore
    imports: ImportStore
    audit: AuditStore

    @abstractmethod
    async def ping(self) -> None:
        """Answer or raise DatabaseUnavailableError within the timeout."""

    @abstractmethod
    async def schema_is_current(self) -> bool:
        """True if the migrations in this code are all applied."""

    @abstractmethod
    async def close(self) -> None:
        """Release every connection; no call may follow."""
