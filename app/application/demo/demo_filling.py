"""Put the demo's data into a database: once, whole, and never into somebody else's data."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from app.application.demo.demo_data import HISTORY, DemoData, generate
from app.domain.exceptions import ConflictError
from app.domain.stores import Database, IngestBatch

BATCH = 2_000
FIRST_ITEM, LAST_USER = "film-001", "user-400"

FillProgress = Callable[[str, float], None]


async def fill(database: Database, now: datetime, progress: FillProgress) -> bool:
    """Take in the demo's data; False if it was there already. A fill that was killed is completed by the next.

    Items come first and carry the anchor, profiles come last and say that the rest is there. Raises ConflictError if
    the database holds interactions of somebody else.
    """
    last = await database.catalog.get_user(LAST_USER)
    if last is not None and last.attributes:
        return False
    first = await database.catalog.get_item(FIRST_ITEM)
    if first is None and await database.interactions.count():
        raise ConflictError("the database holds other data; give the demo another --folder")
    anchor = now.replace(microsecond=0) if first is None else first.updated_at + HISTORY
    progress("generating", 0.0)
    await _store(database, generate(anchor), progress)
    return True


async def _store(database: Database, data: DemoData, progress: FillProgress) -> None:
    await database.catalog.upsert_items(data.items)
    for start in range(0, len(data.interactions), BATCH):
        progress("storing interactions", start / len(data.interactions))
        await database.interactions.ingest(IngestBatch(data.interactions[start : start + BATCH]))
    await database.catalog.upsert_users(data.users)
    progress("stored", 1.0)
