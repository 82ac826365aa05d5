"""Everything that holds something of people, beside the tables: what an erasure has to reach."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.erasure import Finding, IsErased
from app.domain.interfaces import ArtifactStore, Cache, EventPublisher
from app.domain.naming import names_in, spellings
from app.domain.stores import Database

PAPERS = ("dead_letters", "outbox")
_PAGE = 500
_MAX_ASKED = 20
"""Up to so many people the database looks for the names itself: fewer payloads travel."""

_BROKER_KEYS = 500

Memory = Callable[[IsErased], int]
"""Forgets people in one place of this process's memory; how many lists, pages or events there were."""


@dataclass(frozen=True, slots=True)
class Stores:
    """`topics`: those of ours whose keys are user ids. `memory`: places in this process."""

    database: Database
    cache: Cache
    artifacts: ArtifactStore
    publisher: EventPublisher
    topics: Sequence[str]
    memory: Sequence[Memory] = field(default_factory=tuple)

    def forget_here(self, is_theirs: IsErased) -> int:
        """In the memory of this process."""
        return sum(forget(is_theirs) for forget in self.memory)

    async def clear_papers(
        self, is_theirs: IsErased, user_ids: Sequence[str], erasure_id: str | None
    ) -> dict[str, int]:
        """Remove dead letters and outgoing events that name them; how many there were. A page in memory at a time.

        `user_ids`: who they are, where that is known; empty: every payload is looked at.
        """
        parts: list[bytes] = []
        if 0 < len(user_ids) <= _MAX_ASKED:
            parts = [part for user_id in user_ids for part in spellings(user_id)]
        found = dict.fromkeys(PAPERS, 0)
        for table in PAPERS:
            after = 0
            while page := await self.database.erasures.papers(table, after, _PAGE, parts):
                after = page[-1][0]
                theirs = await asyncio.to_thread(_naming, page, is_theirs)
                if theirs:
                    found[table] += await self.database.erasures.remove_papers(table, theirs, erasure_id)
        return found

    async def tell_the_broker(self, user_ids: Sequence[str]) -> Mapping[str, Finding]:
        """A tombstone for each of them on each of our topics. Raises BrokerUnavailableError."""
        findings: dict[str, Finding] = {}
        for topic in self.topics:
            found: int | None = 0
            for start in range(0, len(user_ids), _BROKER_KEYS):
                here = await self.publisher.erase(topic, user_ids[start : start + _BROKER_KEYS])
                found = None if here is None or found is None else found + here
            known = found is not None
            findings[f"topic {topic}"] = Finding(found, len(user_ids) if found is None else found, 0 if known else None)
        return findings


def _naming(page: Sequence[tuple[int, str, bytes]], is_theirs: IsErased) -> list[int]:
    return [
        number for number, key, payload in page if is_theirs(key) or any(is_theirs(name) for name in names_in(payload))
    ]
