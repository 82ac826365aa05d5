"""What is being done in this task, for the row about it: who asks, and the change whose transaction it belongs to.

A change is told to the audit log by whoever lets it in (a route, a command, a loop), details are added by the use case
(`describe`), and the row is written by the database in the very transaction that makes the change. None of the three
needs to know the others; a context variable connects them, as it does for traces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from app.domain.audit import AuditEntry, Outcome


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from: fields of an AuditEntry."""

    key_id: str | None = None
    address: str | None = None
    request_id: str | None = None


@dataclass(slots=True)
class Change:
    """One act that is one transaction. `is_recorded` once that is committed."""

    act_id: str
    actor: str
    name: str
    target: str
    clock: Callable[[], datetime]
    before: Mapping[str, object] | None = None
    after: Mapping[str, object] | None = None
    is_recorded: bool = False

    def entry(self, outcome: Outcome = Outcome.DONE) -> AuditEntry:
        """The entry as things stand now."""
        origin = current_origin()
        return AuditEntry(
            at=self.clock(),
            act_id=self.act_id,
            actor=self.actor,
            act=self.name,
            target=self.target,
            outcome=outcome,
            before=as_text(self.before),
            after=as_text(self.after),
            key_id=origin.key_id,
            address=origin.address,
            request_id=origin.request_id,
        )


_NOWHERE = Origin()
_origin: ContextVar[Origin] = ContextVar("audit_origin", default=_NOWHERE)
_change: ContextVar[Change | None] = ContextVar("audit_change", default=None)


def current_origin() -> Origin:
    """Where the request that this task answers comes from; all None for a command or a loop."""
    return _origin.get()


def change_to_record() -> Change | None:
    """The change whose row the next transaction of this task has to write, or None."""
    change = _change.get()
    return None if change is None or change.is_recorded else change


def describe(
    *,
    target: str | None = None,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Say what is being changed, before the transaction; nothing happens where nobody records it. Never a secret."""
    change = _change.get()
    if change is None:
        return
    change.target = change.target if target is None else target
    change.before = change.before if before is None else before
    change.after = change.after if after is None else after


def nothing_changed() -> None:
    """The transaction found that it had been done before: that has its row."""
    change = _change.get()
    if change is not None:
        change.is_recorded = True


@contextmanager
def asked_from(origin: Origin) -> Iterator[None]:
    """All acts of the block come from there."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


@contextmanager
def changing(change: Change | None) -> Iterator[None]:
    """The next transaction in the block that is committed carries the row of this change; None: no row, whatever is
    being done around the block.
    """
    token = _change.set(change)
    try:
        yield
    finally:
        _change.reset(token)


def as_text(value: Mapping[str, object] | None) -> str | None:
    """The JSON text that the log keeps."""
    return None if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
