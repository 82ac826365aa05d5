"""C3 for PostgreSQL: callers who hang up in the middle of a read mix up no answers and cost no connection."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest

from app.domain.entities import Interaction, Kind
from app.domain.stores import IngestBatch
from app.infrastructure.database import open_database

pytestmark = [pytest.mark.real_servers, pytest.mark.slow]

POOL, USERS = 5, 40


async def connection_states(url: str) -> list[str]:
    """What PostgreSQL says our connections do."""
    own = await asyncpg.connect(url.replace("+asyncpg", ""))
    rows = await own.fetch(
        "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await own.close()
    return [str(row["state"]) for row in rows]


async def test_cancelled_reads_never_mix_up_answers_and_leave_the_pool_whole(postgres_url: str) -> None:
    database = await open_database(postgres_url, pool_size=POOL, timeout_seconds=10, lease_seconds=60)
    at = datetime(2026, 1, 5, tzinfo=UTC)
    events = [Interaction(uuid4(), f"u{number}", f"item-of-{number}", Kind.LIKE, at) for number in range(USERS)]
    await database.interactions.ingest(IngestBatch(events))
    draw = random.Random(3)
    cancelled = wrong = answered = 0

    for _ in range(75):
        users = draw.choices(range(USERS), k=40)
        asked = {asyncio.create_task(database.interactions.history(f"u{user}", 5)): user for user in users}
        await asyncio.sleep(draw.choice([0, 0.001, 0.003]))
        for task in draw.sample(list(asked), 16):
            task.cancel()
        replies = await asyncio.gather(*asked, return_exceptions=True)
        for user, reply in zip(asked.values(), replies, strict=True):
            if isinstance(reply, asyncio.CancelledError):
                cancelled += 1
            elif isinstance(reply, BaseException) or [state.item_id for state in reply] != [f"item-of-{user}"]:
                wrong += 1
            else:
                answered += 1

    assert wrong == 0
    assert cancelled > 500
    assert answered >= 1_800
    await asyncio.sleep(0.5)  # what was cancelled last may still be told to its server
    states = await connection_states(postgres_url)
    assert set(states) == {"idle"}
    assert len(states) <= POOL
    await database.close()
