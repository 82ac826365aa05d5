"""Puts acts on record. What cannot be recorded is not done.

A change that is one transaction of the database has one row, written in that transaction (`change`). Whatever takes
more than one has two (`act`): one before it is begun, one when it has ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from app.domain.audit import AuditEntry, AuditStore, ChainCheck, Outcome
from app.domain.audit_scope import Change, as_text, changing, current_origin
from app.domain.exceptions import EncoreError, UnavailableError

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
        act, origin = Act(target), current_origin()
        entry = AuditEntry(
            self._clock(),
            uuid4().hex,
            self._actor,
            name,
            target,
            Outcome.BEGUN,
            as_text(before),
            key_id=origin.key_id,
            address=origin.address,
            request_id=origin.request_id,
        )
        await self._store.append(entry)
        try:
            yield act
        except BaseException as error:
            why = as_text({"error": type(error).__name__ if isinstance(error, EncoreError) else "internal"})
            await self._store.append(replace(entry, at=self._clock(), outcome=Outcome.FAILED, after=why))
            raise
        done = replace(entry, at=self._clock(), target=act.target, outcome=Outcome.DONE, after=as_text(act.after))
        await self._store.append(done)

    @asynccontextmanager
    async def change(self, name: str, target: str, *, keeps_failures: bool = True) -> AsyncIterator[Change]:
        """Let it be done: the first transaction of the block to be committed carries the row.

        The use case says what is changed (`audit_scope.describe`). Where an error of ours comes before anything is
        committed, a row `failed` says so (not with `keeps_failures` off, for loops that try again for ever); any other
        error has changed nothing. Where there was nothing to write, a row of its own says that it was asked for.
        """
        change = Change(uuid4().hex, self._actor, name, target, self._clock)
        try:
            with changing(change):
                yield change
        except EncoreError as error:
            if keeps_failures and not change.is_recorded:
                change.after = {"error": type(error).__name__}
                with suppress(UnavailableError):  # nothing was changed: the caller hears why
                    await self._store.append(change.entry(Outcome.FAILED))
            raise
        if not change.is_recorded:
            await self._store.append(change.entry())


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
