"""The nouns: frozen values that every layer may hold. No I/O, no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

RESERVED_USER_IDS = frozenset({"models", "train", "experiments", "session", "bulk"})
"""Path words under /api/v1/recs and /api/v1/users (docs/design.md §5): never stored as user ids."""

RESERVED_ITEM_IDS = frozenset({"popular", "bulk"})
"""Path words under /api/v1/items: an item of that name could be written and never read.

`app.api.routing` refuses to start where a route has a fixed word in the place of an id that is in neither set.
"""


class Kind(StrEnum):
    """What a user did to an item. The values are what files, events and the database hold."""

    WATCH = "watch"
    RATING = "rating"
    WATCHLIST = "watchlist"
    VIEW = "view"
    LIKE = "like"
    DISLIKE = "dislike"
    COMMENT = "comment"
    SHARE = "share"
    CLICK = "click"
    PURCHASE = "purchase"


KINDS: tuple[Kind, ...] = tuple(Kind)
"""Position in this tuple = the small integer that stands for the kind in arrays and tables. Append only."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """One accepted event. Identity is `event_id` alone; two interactions with the same one are the same event.

    `value` by kind: rating 0.5–5; watch = watched seconds, with `duration` = total seconds; watchlist 1.0 added,
    0.0 removed; others optional strength (None = 1). `occurred_at` is timezone-aware UTC.
    """

    event_id: UUID
    user_id: str
    item_id: str
    kind: Kind
    occurred_at: datetime
    value: float | None = None
    duration: float | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class PairState:
    """What is known of one (user, item, kind), however often and in whatever order the events arrived.

    `value`/`duration`/`occurred_at` are those of the newest event by (occurred_at, event_id); `peak` the largest
    strength so far (for watch: the largest watched ratio, 0–1; else the largest value, 1.0 where there is none);
    `count` the number of distinct events. Like and dislike share one state: the newest decides `kind`.
    """

    item_id: str
    kind: Kind
    value: float | None
    duration: float | None
    peak: float
    count: int
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Interactions as columns, for training. All arrays have length n, sorted by (user, occurred_at, event order).

    `user`, `item`: int32 positions in `user_ids`/`item_ids`; `kind`: int8 position in KINDS; `value`, `duration`:
    float32, NaN where absent; `occurred_at`: float64 Unix seconds.
    """

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    kind: NDArray[np.int8]
    value: NDArray[np.float32]
    duration: NDArray[np.float32]
    occurred_at: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Item:
    """A catalog entry. `updated_at` decides which of two upserts wins (newest); ties go to the later arrival."""

    item_id: str
    updated_at: datetime
    title: str | None = None
    description: str | None = None
    genres: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    year: int | None = None
    published_at: datetime | None = None
    available: bool = True
    available_from: datetime | None = None
    available_until: datetime | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class User:
    """A profile. `attributes` are flat name → text or number pairs (`gender`, `age`, `country`, …)."""

    user_id: str
    updated_at: datetime
    attributes: Mapping[str, object] = field(default_factory=dict)


class IngestOutcome(StrEnum):
    """What became of one event of a batch."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    TOMBSTONED = "tombstoned"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that could not be taken in. `payload` is at most its first 4 KiB; `sha256` is of all of it."""

    source: str
    reason: str
    payload: bytes
    sha256: str
    received_at: datetime
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    dead_letter_id: int | None = None
    replayed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SourceOffset:
    """How far one partition has been taken in: records below `next_offset` are in the database.

    `epoch` identifies this incarnation of the topic (cluster and topic id), so that a recreated topic is noticed.
    """

    topic: str
    partition: int
    next_offset: int
    epoch: str


@dataclass(frozen=True, slots=True)
class IngestResult:
    """`outcomes[i]` belongs to the i-th interaction of the batch; `touched` are the users whose lists must change."""

    outcomes: tuple[IngestOutcome, ...]
    touched: frozenset[str]

    @property
    def accepted(self) -> int:
        return sum(outcome is IngestOutcome.ACCEPTED for outcome in self.outcomes)


class TrainingStatus(StrEnum):
    """queued → running → one of the others, which are final."""

    QUEUED = "queued"
    RUNNING = "running"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_STATUSES = frozenset(
    {TrainingStatus.PROMOTED, TrainingStatus.REJECTED, TrainingStatus.FAILED, TrainingStatus.CANCELLED}
)


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One training, from request to verdict. `progress` is 0–1, `stage` the words shown to people."""

    training_id: str
    model_type: str
    status: TrainingStatus
    created_at: datetime
    parameters: Mapping[str, object] = field(default_factory=dict)
    start_date: datetime | None = None
    end_date: datetime | None = None
    fencing_token: int | None = None
    heartbeat_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stage: str = "queued"
    progress: float = 0.0
    reason: str | None = None
    model_id: str | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    cancel_requested: bool = False


class ModelStatus(StrEnum):
    """candidate → champion ⇄ retired; rejected models keep their row (and their reasons), not their artifact."""

    CANDIDATE = "candidate"
    CHAMPION = "champion"
    RETIRED = "retired"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One trained model. `version` counts up per `model_type`; `artifact_key` is immutable once written."""

    model_id: str
    model_type: str
    version: int
    status: ModelStatus
    created_at: datetime
    training_id: str | None
    artifact_key: str | None
    manifest_sha256: str | None
    metrics: Mapping[str, object] = field(default_factory=dict)
    lineage: Mapping[str, object] = field(default_factory=dict)
    promoted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Champion:
    """The pointer a server follows. `epoch` rises with every promotion and rollback of this model type."""

    model: ModelVersion
    epoch: int


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """An event that left our database in the transaction that made it true, and now waits to be published."""

    message_id: UUID
    topic: str
    key: str
    payload: bytes
    headers: Mapping[str, str]
    created_at: datetime
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A service's credential as stored: never the secret, only its SHA-256 (256 random bits need no slow hash)."""

    key_id: str
    client: str
    secret_sha256: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
