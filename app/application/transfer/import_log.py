"""Noting imports, and taking one back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import uuid4

from app.application.invalidation.generation_bumps import PendingBumps
from app.application.transfer.import_summary import ImportSummary
from app.domain.audit_scope import describe
from app.domain.exceptions import NotFoundError
from app.domain.import_store import ImportKind, ImportRecord, ImportStore

_GAP_SECONDS = 0.01
"""Between two steps: where there is one writer at a time, a server's small ones find their moment here."""
_CATALOGS = frozenset({ImportKind.ITEMS, ImportKind.USERS})


async def begin_import(store: ImportStore, kind: ImportKind, files: Sequence[str], now: datetime) -> str:
    """Note an import; returns its id."""
    import_id = uuid4().hex
    describe(target=import_id, after={"kind": kind.value, "files": list(files)})
    await store.start(ImportRecord(import_id, kind, files, now))
    return import_id


async def end_import(
    store: ImportStore, import_id: str, kind: ImportKind, tallies: Mapping[str, ImportSummary], now: datetime
) -> None:
    """Note that an import came to its end."""
    entries = sum(tally.accepted for tally in tallies.values()) if kind in _CATALOGS else 0
    await store.finish(import_id, now, entries)


async def undo_import(
    store: ImportStore, bumps: PendingBumps, import_id: str, now: datetime, progress: Callable[[int, int], None]
) -> tuple[ImportRecord, int]:
    """Take an import back and renew the lists of its users; (the import, interactions removed).

    `progress` is told (removed so far, rows of the import). Raises what `ImportStore.undo` does.
    """
    removed = 0
    record = await store.get(import_id)
    if record is None:
        raise NotFoundError("import")
    async for step in store.undo(import_id, now):
        removed += step.rows
        bumps.add(step.users)
        await bumps.flush()
        progress(removed, record.rows)
        await asyncio.sleep(_GAP_SECONDS)
    return record, removed
