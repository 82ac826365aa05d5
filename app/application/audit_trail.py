"""Puts acts on record: one row before an act is begun, one when it has ended. What cannot be recorded is not done."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from app.domain.audit import AuditEntry, AuditStore, ChainCheck, Outcome
from app.domain.exceptions import EncoreError

BATCH = 5_000
MAX_PROBLEMS = 1_000


@dataclass(slots=True)
class Act:
    """What is being done; the doer says here what it was done to, and what there is afterwards."""

    target: str
    after: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the walk found: up to MAX_PROBLEMS sentences, the rows seen, and the head (None: an empty log)."""

    rows: int
    problems: tuple[str, ...]
    head: str | None


class AuditTrail:
    """Records the acts of one actor."""

    def __init__(self, store: AuditStore, clock: Callable[[], datetime], actor: str) -> None:
        self._store = store
        self._clock = clock
        self._actor = actor

    @asynccontextmanager
    async def act(self, name: str, target: str, before: Mapping[str, object] | None = None) -> AsyncIterator[Act]:
        """Record, let it be done, record how it ended.

        Raises DatabaseUnavailableError before anything is done where it cannot be recorded.
        """
        act = Act(target)
        text = None if before is None else _json(before)
        entry = AuditEntry(self._clock(), uuid4().hex, self._actor, name, target, Outcome.BEGUN, text)
        await self._store.append(entry)
        try:
            yield act
        except BaseException as error:
            why = _json({"error": type(error).__name__ if isinstance(error, EncoreError) else "internal"})
            await self._store.append(replace(entry, at=self._clock(), outcome=Outcome.FAILED, after=why))
            raise
        after = None if act.after is None else _json(act.after)
        done = replace(entry, at=self._clock(), target=act.target, outcome=Outcome.DONE, after=after)
        await self._store.append(done)


async def verify_chain(store: AuditStore, head: tuple[int, str] | None = None) -> Verdict:
    """Walk the whole chain in batches. `head`: (sequence, hash) noted earlier, which must still be there."""
    check, rows = ChainCheck(), 0
    problems: list[str] = []
    last: str | None = None
    is_head_there = head is None
    while batch := await store.read(check.sequence, BATCH):
        for row in batch:
            rows, last = rows + 1, row.head
            is_head_there = is_head_there or (row.sequence, row.hash) == head
            problem = check.take(row)
            if problem is not None and len(problems) < MAX_PROBLEMS:
                problems.append(problem)
    if head is not None and not is_head_there:
        problems.append(f"row {head[0]}, the head that was noted, is missing or another one")
    return Verdict(rows, tuple(problems), last)


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
