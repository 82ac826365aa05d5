"""Renewal of lists: the order of the cache's generation and this process's memory."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from app.application.invalidation.list_invalidation import ListInvalidator
from app.infrastructure.cache.memory_cache import MemoryCache
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate


class NotingCache(MemoryCache):
    """Notes when a bump has taken effect."""

    def __init__(self, steps: list[str]) -> None:
        super().__init__(1_000_000)
        self._steps = steps

    async def bump(self, user_ids: Collection[str]) -> None:
        await super().bump(user_ids)
        self._steps.append("bumped")


async def test_memory_is_dropped_only_after_the_generation_was_bumped(tmp_path: Path) -> None:
    """Dropped before, a reader in between would put the old list back under the old generation, and nobody drops it."""
    migrate(url := f"sqlite+aiosqlite:///{tmp_path}/encore.db")
    database = await open_database(url, pool_size=1, timeout_seconds=5, lease_seconds=60)
    steps: list[str] = []
    cache = NotingCache(steps)
    renewal = ListInvalidator(
        database.interactions, cache, lambda user_ids: steps.append(f"dropped {sorted(user_ids)}")
    )
    try:
        assert await renewal.renew({"u1", "u2"})
    finally:
        await cache.close()
        await database.close()

    assert steps == ["bumped", "dropped ['u1', 'u2']"]
