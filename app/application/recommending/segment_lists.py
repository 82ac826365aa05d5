"""Lists that belong to no single user: from process memory, else computed once for all who ask now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from app.application.ranking.serving_state import ServingState
from app.application.recommending.list_request import RequestKey
from app.application.recommending.local_cache import LocalList, LocalListCache
from app.application.recommending.pages import build_page
from app.application.recommending.single_flight import SingleFlight
from app.domain.keys import key_text
from app.domain.list_query import Page
from app.domain.ranked_list import RankedList


class SegmentLists:
    """Owners begin with `*`, which no user id does. Not written to the shared cache: each process needs few of them."""

    def __init__(self, memory: LocalListCache, max_running: int, clock: Callable[[], datetime]) -> None:
        self._memory = memory
        self._clock = clock
        # Apart from the users' computations: a crowd of new users all wait for the one list they share.
        self._flight: SingleFlight[RequestKey, LocalList] = SingleFlight(max_running)

    def found(self, serving: ServingState, owner: str, name: str) -> RankedList | None:
        """The list, if it is in memory."""
        held = self._found(owner, _variant(serving, name))
        return None if held is None else held.ranked

    async def get(
        self, serving: ServingState, owner: str, name: str, compute: Callable[[], Awaitable[RankedList]]
    ) -> RankedList:
        """The list called `name` of this owner, as this Serving gives it."""
        return (await self._held(serving, owner, name, compute)).ranked

    async def page(
        self, serving: ServingState, owner: str, name: str, compute: Callable[[], Awaitable[RankedList]], limit: int
    ) -> Page:
        """The first lines of that list: the same page as long as nothing has changed."""
        held = await self._held(serving, owner, name, compute)
        key = (serving.view.revision, 0, limit)
        page = held.pages.get(key)
        if page is None:
            page = build_page(serving, held.ranked, limit, 0)
            self._memory.put_page(held, key, page)
        return page

    def _found(self, owner: str, variant: str) -> LocalList | None:
        held = self._memory.get(owner, variant)
        return None if held is None or held.ranked.good_until <= self._clock().timestamp() else held

    async def _held(
        self, serving: ServingState, owner: str, name: str, compute: Callable[[], Awaitable[RankedList]]
    ) -> LocalList:
        variant, ticket = _variant(serving, name), self._memory.dropped(owner)
        found = self._found(owner, variant)
        if found is not None:
            return found

        async def keep() -> LocalList:
            return self._memory.put(owner, variant, None, await compute(), ticket)

        return await self._flight.get((owner, variant, None, ticket), keep)

    async def close(self) -> None:
        """Stop what is being computed."""
        await self._flight.close()


def _variant(serving: ServingState, name: str) -> str:
    return key_text(serving.view.layout, serving.label, name)
