"""Lists that belong to no single user: from process memory, else computed once for all who ask now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from app.application.recommending.list_memory import HeldList, ListMemory
from app.application.recommending.ranked_list import RankedList
from app.application.recommending.single_flight import SingleFlight
from app.application.recommending.wish import Key
from app.application.serving.serving import Serving


class SharedLists:
    """Owners begin with `*`, which no user id does. Not written to the shared cache: each process needs few of them."""

    def __init__(self, memory: ListMemory, max_running: int, clock: Callable[[], datetime]) -> None:
        self._memory = memory
        self._clock = clock
        # Apart from the users' computations: a crowd of new users all wait for the one list they share.
        self._flight: SingleFlight[Key, HeldList] = SingleFlight(max_running)

    def found(self, serving: Serving, owner: str, name: str) -> RankedList | None:
        """The list, if it is in memory."""
        held = self._memory.get(owner, _variant(serving, name))
        return None if held is None or held.ranked.good_until <= self._clock().timestamp() else held.ranked

    async def get(
        self, serving: Serving, owner: str, name: str, compute: Callable[[], Awaitable[RankedList]]
    ) -> RankedList:
        """The list called `name` of this owner, as this Serving gives it."""
        ranked = self.found(serving, owner, name)
        if ranked is not None:
            return ranked
        variant, ticket = _variant(serving, name), self._memory.dropped(owner)

        async def keep() -> HeldList:
            return self._memory.put(owner, variant, None, await compute(), ticket)

        return (await self._flight.get((owner, variant, None, ticket), keep)).ranked

    async def close(self) -> None:
        """Stop what is being computed."""
        await self._flight.close()


def _variant(serving: Serving, name: str) -> str:
    return f"{serving.view.layout}.{serving.label}.{name}"
