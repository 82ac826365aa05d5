"""What must happen after something changed a user's list: here at once, in the cache surely, elsewhere soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from app import telemetry
from app.application.invalidation.generation_bumps import PendingBumps
from app.domain.exceptions import DatabaseUnavailableError
from app.domain.interfaces import Cache
from app.domain.stores import InteractionStore

RETRY_SECONDS = 0.2
PAGE = 5_000


class ListInvalidator:
    """Renews lists of users. What the cache does not take is kept, bounded, and tried again by `follow`.

    With `follow_seconds` the database is asked that often for events that other processes wrote (an import while
    serving): needed where processes share no cache; None where whoever writes also tells the shared cache.
    """

    def __init__(
        self,
        interactions: InteractionStore,
        cache: Cache,
        forget: Callable[[Collection[str]], None],
        follow_seconds: float | None = None,
    ) -> None:
        self._interactions = interactions
        self._bumps = PendingBumps(cache)
        self._forget = forget
        self._follow_seconds = follow_seconds
        self._sequence: int | None = None

    async def renew(self, user_ids: Collection[str]) -> bool:
        """Renew now; False if the cache did not answer, which `follow` makes good."""
        self._bumps.add(user_ids)
        is_done = await self._bumps.flush()
        # After the bump: whoever asks from now on finds neither the old generation nor the old list.
        self._forget(user_ids)
        return is_done

    async def start(self) -> None:
        """Note where the events end now: everything held by this process is younger."""
        if self._sequence is None:
            _users, self._sequence = await self._interactions.users_since(-1, 0)

    async def follow(self) -> None:
        """Retry what failed, and renew after events of other processes, until cancelled."""
        while True:
            await asyncio.sleep(self._follow_seconds or RETRY_SECONDS)
            try:
                await self.start()
                await self.step()
            except DatabaseUnavailableError:
                telemetry.BACKGROUND_FAILURES.labels("list_renewal").inc()

    async def step(self) -> None:
        """One round of `follow`."""
        if not self._bumps.is_clean:
            await self._bumps.flush()
        if self._follow_seconds is not None or self._bumps.can_recover():
            self._bumps.recovered()
            await self._renew_since()

    async def _renew_since(self) -> None:
        assert self._sequence is not None  # `start` came first
        sequence = self._sequence
        while True:
            users, newest = await self._interactions.users_since(sequence, PAGE)
            if not users:
                break
            await self.renew(users)
            sequence = newest
        # Without a poll the beginning stays: an overflow may have lost any user since then.
        if self._follow_seconds is not None:
            self._sequence = sequence
