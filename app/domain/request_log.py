"""The request log: one entry for every list that was answered, and the port to where they are kept.

Exposures, results of experiments, key figures and off-policy estimates all come from it. A user is in it by a keyed
hash, never by id.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Protocol

SHARE_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class ShownItem:
    """One item of a page. `propensity`: the chance with which it came to stand at this rank."""

    item_id: str
    rank: int
    score: float
    source: str
    propensity: float


@dataclass(frozen=True, slots=True)
class RequestEntry:
    """One list as it was answered. `user` is `user_pseudonym`; None for lists of nobody (popular, similar, sessions).

    `surface`: recs, session, similar or popular. `is_preview`: an arm somebody looked at; never counted.
    """

    request_id: str
    at: datetime
    user: bytes | None
    surface: str
    model_id: str | None
    model_version: int | None
    experiment_id: str | None
    variant: str | None
    is_preview: bool
    fallback_reason: str | None
    from_cache: bool
    seconds: float
    items: tuple[ShownItem, ...]


class RequestLogStore(Protocol):
    """Entries by time. What is added twice is there twice: nobody adds twice."""

    @abstractmethod
    async def add(self, entries: Sequence[RequestEntry]) -> None:
        """Store them in one transaction, but for lists that were shown to somebody who has been erased since."""

    @abstractmethod
    async def get(self, request_id: str) -> RequestEntry | None:
        """The newest entry of this request, or None."""

    @abstractmethod
    def read(
        self, since: datetime, until: datetime, *, experiment_id: str | None = None, batch: int = 2_000
    ) -> AsyncIterator[Sequence[RequestEntry]]:
        """since ≤ at < until, in batches in the order they were stored; memory holds one batch."""

    @abstractmethod
    async def prune(self, before: datetime, limit: int) -> int:
        """Remove up to `limit` entries older than this; returns how many."""


def user_pseudonym(secret: bytes, user_id: str) -> bytes:
    """(16,) bytes that stand for a user: the same while the secret is, and nothing without it."""
    key = blake2b(secret, digest_size=32, person=b"encore-pseudonym").digest()
    return blake2b(user_id.encode("utf-8", "surrogatepass"), key=key, digest_size=16).digest()


def is_logged(user: bytes, share: float) -> bool:
    """Decided per user, so that a user who is logged is logged whole."""
    return int.from_bytes(user[:8], "big") % SHARE_STEPS < share * SHARE_STEPS
