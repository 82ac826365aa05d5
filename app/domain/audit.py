"""The audit log: rows that name their predecessor by hash, and the check that walks them. Pure.

`hash = SHA-256(JSON of [version, sequence, previous hash, at in µs, …every other field])`: a row that was changed,
removed, put in or moved no longer fits what stands before or after it. Only the newest rows can be cut off unseen; they
are found missing when the head is compared with one that was noted elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

FIRST_PREVIOUS = "0" * 64
"""What the first row names as its predecessor."""

HASH_VERSION = 2
"""Of rows written now. Version 1, of rows before, covers neither itself nor key, address and request."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Outcome(StrEnum):
    """Of an act: `begun` only where it is more than one transaction of this database."""

    BEGUN = "begun"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that somebody did. `before` and `after` are JSON texts; `act_id` is the same in both rows of an act."""

    at: datetime
    act_id: str
    actor: str
    act: str
    target: str
    outcome: Outcome
    before: str | None = None
    after: str | None = None
    key_id: str | None = None
    """The API key, or the key that signed the token."""
    address: str | None = None
    """The caller's address as a keyed hash (`app.domain.pseudonyms`)."""
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry with its place in the chain: `sequence` from 1 without a gap, hashes as 64 hexadecimal digits."""

    sequence: int
    previous: str
    hash: str
    entry: AuditEntry
    version: int = HASH_VERSION

    @property
    def head(self) -> str:
        """What is noted elsewhere to find a cut-off end: `sequence:hash`."""
        return f"{self.sequence}:{self.hash}"


class AuditStore(Protocol):
    """Rows are added and read; there is no way to change or to remove one."""

    @abstractmethod
    async def append(self, entry: AuditEntry) -> AuditRow:
        """Add a row after the newest one; two processes wait for each other. Raises DatabaseUnavailableError."""

    @abstractmethod
    async def read(self, after: int, limit: int) -> Sequence[AuditRow]:
        """Up to `limit` rows whose sequence is above `after`, oldest first."""

    @abstractmethod
    async def newest(self, limit: int) -> Sequence[AuditRow]:
        """The newest `limit` rows, newest first."""


def next_row(last_sequence: int, last_hash: str, entry: AuditEntry) -> AuditRow:
    """The row that follows (0 and FIRST_PREVIOUS: the first)."""
    sequence = last_sequence + 1
    return AuditRow(sequence, last_hash, row_hash(sequence, last_hash, entry), entry)


def row_hash(sequence: int, previous: str, entry: AuditEntry, version: int = HASH_VERSION) -> str:
    """SHA-256 of everything in the row but this hash."""
    moment = (entry.at - _EPOCH) // timedelta(microseconds=1)
    names = entry.act_id, entry.actor, entry.act, entry.target, entry.outcome
    values = [sequence, previous, moment, *names, entry.before, entry.after]
    if version > 1:
        values = [version, *values, entry.key_id, entry.address, entry.request_id]
    return hashlib.sha256(json.dumps(values, separators=(",", ":")).encode()).hexdigest()


def _is_as_hashed(row: AuditRow) -> bool:
    entry = row.entry
    if not 1 <= row.version <= HASH_VERSION:
        return False
    if row.version == 1 and (entry.key_id, entry.address, entry.request_id) != (None, None, None):
        return False  # put in afterwards: the hash says nothing about them
    return row.hash == row_hash(row.sequence, row.previous, entry, row.version)


class ChainCheck:
    """Walks the rows in order of their sequence and says of each what is wrong with it; keeps one row's worth."""

    def __init__(self) -> None:
        self.sequence = 0
        self._hash = FIRST_PREVIOUS

    def take(self, row: AuditRow) -> str | None:
        """What is wrong between the row before and this one, or None."""
        expected, previous = self.sequence + 1, self._hash
        self.sequence, self._hash = row.sequence, row.hash
        if not _is_as_hashed(row):
            return f"row {row.sequence} was changed"
        if row.sequence < expected:
            return f"row {row.sequence} does not belong here"
        if row.sequence > expected:
            last = row.sequence - 1
            return f"row {last} is missing" if last == expected else f"rows {expected} to {last} are missing"
        if row.previous != previous:
            return f"row {row.sequence} does not follow row {row.sequence - 1}: one of them was replaced"
        return None
