"""Erasing people: who is to be forgotten, how far that is, the certificate at its end, and the port to the database.

People are known by `digest`, the SHA-256 of their id: what has to be remembered of them (that their old events are
void) needs no name.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

MAX_PEOPLE = 1_000
"""In one erasure: what holds their names stays below a third of a megabyte."""

IsErased = Callable[[str], bool]
"""Whether this user id is one of those to forget."""


@dataclass(frozen=True, slots=True)
class Person:
    """`digest`: (32,) bytes, the SHA-256 of the id; `pseudonym`: the name in the request log."""

    user_id: str
    digest: bytes
    pseudonym: bytes


@dataclass(frozen=True, slots=True)
class Grave:
    """What is remembered of an erased person: `until` what occurred is void, and when it was said (`erased_at`)."""

    digest: bytes
    pseudonym: bytes | None
    erased_at: datetime
    until: datetime

    @property
    def lists_until(self) -> datetime:
        """Up to when lists that were shown are void: `until` moves back when somebody returns, this does not."""
        return max(self.until, self.erased_at)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one store had: rows, keys or messages found and removed, and found when it was looked again.

    None: cannot be counted there.
    """

    found: int | None = 0
    removed: int = 0
    found_again: int | None = 0

    def plus(self, found: int, found_again: int = 0) -> Finding:
        """After so many were found and removed, and so many found when it was looked again."""
        return Finding((self.found or 0) + found, self.removed + found, found_again)

    def after(self, before: Finding) -> Finding:
        """Together with what was found before; what is found again now is what there is."""
        known = None if self.found is None or before.found is None else self.found + before.found
        return Finding(known, self.removed + before.removed, self.found_again)


@dataclass(frozen=True, slots=True)
class Erasure:
    """One order to forget some people, and how far it is: the first `removed` of `user_ids` are out of the tables.

    `user_ids` is empty once it is done; `people` is how many there were, `people_sha256` a hash over their digests.
    """

    erasure_id: str
    actor: str
    requested_at: datetime
    until: datetime
    user_ids: tuple[str, ...]
    people: int
    people_sha256: str
    removed: int = 0
    findings: Mapping[str, Finding] = field(default_factory=dict)
    certificate: Mapping[str, object] | None = None
    certificate_sha256: str | None = None
    finished_at: datetime | None = None

    @property
    def is_done(self) -> bool:
        return self.finished_at is not None


class ErasureStore(Protocol):
    """Erasures, graves, and what the tables hold of people."""

    @abstractmethod
    async def known(self, people: Sequence[Person]) -> Collection[str]:
        """The ids of those of whom there is a row, or a list in the request log."""

    @abstractmethod
    async def add(self, erasure: Erasure) -> None:
        """Store a new one."""

    @abstractmethod
    async def get(self, erasure_id: str) -> Erasure | None:
        """One erasure, or None."""

    @abstractmethod
    async def claim(self, erasure_id: str | None, now: datetime, lease_seconds: float) -> Erasure | None:
        """This one, or the oldest that is not done and that nobody works on; it is the caller's for so long."""

    @abstractmethod
    async def extend(self, erasure_id: str, until: datetime) -> None:
        """It is the caller's for longer."""

    @abstractmethod
    async def remove_people(self, people: Sequence[Person], at: datetime, until: datetime) -> Mapping[str, Finding]:
        """Remove everything the tables have under these keys, in one transaction that nobody writes events beside.

        Leaves graves: what occurred up to `until` is never taken in again, nor are lists shown up to `at` logged.
        """

    @abstractmethod
    async def remove_next(self, erasure_id: str, people: Sequence[Person]) -> Erasure:
        """`remove_people` for the next people of an erasure; place and findings are written in that transaction."""

    @abstractmethod
    async def papers(
        self, table: str, after: int, limit: int, containing: Collection[bytes]
    ) -> Sequence[tuple[int, str, bytes]]:
        """(number, key, payload) of `dead_letters` or `outbox`, in order, strictly after `after`.

        `containing`: only those with one of these in key or payload; empty: all.
        """

    @abstractmethod
    async def remove_papers(self, table: str, numbers: Collection[int], erasure_id: str | None) -> int:
        """Delete them; found and removed are added to the findings of the erasure in the same transaction."""

    @abstractmethod
    async def note(self, erasure_id: str, findings: Mapping[str, Finding]) -> Erasure:
        """Write findings of other stores down."""

    @abstractmethod
    async def finish(self, erasure: Erasure) -> None:
        """Write the certificate and forget the names."""

    @abstractmethod
    async def bury(self, graves: Sequence[Grave]) -> None:
        """Write graves as they are; of two of one person the later moments hold."""

    @abstractmethod
    async def graves(self, after: bytes, limit: int) -> Sequence[Grave]:
        """In order of digests, strictly after `after` (b"": from the beginning)."""

    @abstractmethod
    async def newest_grave(self) -> datetime | None:
        """When somebody was erased last."""

    @abstractmethod
    async def graves_since(self, at: datetime, limit: int) -> Sequence[Grave]:
        """The newest ones from this moment on."""

    @abstractmethod
    async def lists_of(self, graves: Sequence[Grave], *, remove: bool) -> int:
        """How many entries of the request log are void by these graves, and were removed if asked for."""

    @abstractmethod
    async def returned(self, graves: Mapping[str, Grave]) -> Collection[str]:
        """Those of these users, by id, of whom nothing from before their erasure is stored: they came back."""

    @abstractmethod
    async def adopt_tombstones(self) -> int:
        """Turn tombstones with names, which older versions write, into graves; how many there were."""


def digest_of(user_id: str) -> bytes:
    """(32,) bytes that stand for a user whom nobody may be told of; the database computes the same."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).digest()


def erased_among(digests: Collection[bytes]) -> IsErased:
    """Tells by the id whether a digest is among these (a set)."""
    return lambda user_id: digest_of(user_id) in digests


def people_hash(user_ids: Collection[str]) -> str:
    """64 hexadecimal digits over all digests, in order: whoever has the names can show that these were meant."""
    return hashlib.sha256(b"".join(sorted(map(digest_of, user_ids)))).hexdigest()


def certified(erasure: Erasure, now: datetime) -> Erasure:
    """The finished erasure: its certificate, hashed as JSON with sorted keys and without spaces; no names."""
    stores = {
        name: {"found": one.found, "removed": one.removed, "found_again": one.found_again}
        for name, one in sorted(erasure.findings.items())
    }
    certificate: Mapping[str, object] = {
        "erasure_id": erasure.erasure_id,
        "requested_at": erasure.requested_at.isoformat(),
        "finished_at": now.isoformat(),
        "people": erasure.people,
        "people_sha256": erasure.people_sha256,
        "stores": stores,
        "is_clean": not any(one.found_again for one in erasure.findings.values()),
    }
    return replace(
        erasure,
        user_ids=(),
        certificate=certificate,
        certificate_sha256=certificate_hash(certificate),
        finished_at=now,
    )


def certificate_hash(certificate: Mapping[str, object]) -> str:
    """SHA-256 of the certificate, 64 hexadecimal digits."""
    text = json.dumps(certificate, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
