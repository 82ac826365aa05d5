"""One process's part in erasures: it finishes those that wait, and forgets whom other processes have erased."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from app import telemetry
from app.application.erasing.erasures import Erasures
from app.domain.erasure import erased_among
from app.domain.exceptions import UnavailableError

PERIOD_SECONDS = 2.0
_OVERLAP = timedelta(seconds=30)
"""Graves become visible when their transaction ends, which may be after those of a later moment."""

_PEOPLE = 20_000


class ErasureFollower:
    """Wakes up at once where an order was given in this process."""

    def __init__(self, erasures: Erasures) -> None:
        self._erasures = erasures
        self._stores = erasures.stores
        self._woken = erasures.woken
        self._seen: datetime | None = None
        self._forgotten: frozenset[bytes] = frozenset()

    async def follow(self) -> None:
        """Until cancelled; an outage is waited out."""
        while True:
            try:
                await self.step()
            except UnavailableError:
                telemetry.BACKGROUND_FAILURES.labels("erasures").inc()
            try:
                async with asyncio.timeout(PERIOD_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                continue
            self._woken.clear()

    async def step(self) -> None:
        """One round of `follow`. Raises UnavailableError."""
        await self._forget()
        await self._erasures.run_waiting()

    async def _forget(self) -> None:
        newest = await self._stores.database.erasures.newest_grave()
        if newest is None:
            return
        if self._seen is None:  # what this process holds is younger than its start
            self._seen = newest
        graves = await self._stores.database.erasures.graves_since(self._seen - _OVERLAP, _PEOPLE)
        digests = frozenset(grave.digest for grave in graves)
        new = digests - self._forgotten
        if new:
            is_theirs = erased_among(new)
            self._stores.forget_here(is_theirs)
            if not self._stores.cache.is_shared:
                await self._stores.cache.erase(is_theirs)
        self._seen, self._forgotten = max(self._seen, newest), digests
