"""The pages after the first: the list that a cursor carries, as the present catalog shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime

from app.application.ranking.serving_state import ServingState
from app.application.recommending.list_cursor import Carried, Finder, pack, unpack
from app.application.recommending.page_reasons import PageReasons
from app.application.recommending.pages import build_page
from app.application.recommending.scoring_pool import ScoringPool
from app.domain.exceptions import DatabaseUnavailableError
from app.domain.list_query import ListQuery, Page, Reason
from app.domain.ranked_list import RankedList

_ROUNDING = 1e-4
"""Contributions are rounded to six decimals, each of them, and so is the score."""


class NextPages:
    """Needs neither the cache nor what this process remembers."""

    def __init__(
        self,
        serving: Callable[[ListQuery], Awaitable[ServingState]],
        caught_up: Callable[[ListQuery], Awaitable[object]],
        page_reasons: PageReasons,
        pool: ScoringPool,
        clock: Callable[[], datetime],
    ) -> None:
        """`serving`: the present state that answers a query; `caught_up`: read the newest catalog there."""
        self._serving = serving
        self._caught_up = caught_up
        self._page_reasons = page_reasons
        self._pool = pool
        self._clock = clock
        self._finder = Finder()

    def rest(self, serving: ServingState, query: ListQuery, ranked: RankedList) -> bytes:
        """What the cursor after this page carries; empty where nothing follows."""
        now = self._clock().timestamp()
        return pack(serving.view, serving.model, ranked, query.offset + query.limit, now)

    async def page(self, query: ListQuery, data: bytes) -> Page:
        """The next page. Raises CursorError, ExpiredCursorError, OverloadedError."""
        carried = unpack(data, self._clock().timestamp())
        serving = await self._at_least(carried.revision, query)
        ranked = await self._pool.run(self._resumed, carried, serving, query)
        reasons = await self._reasons(serving, ranked, carried, query) if query.explain else ()
        rest = pack(serving.view, carried.model, ranked, carried.offset + query.limit, self._clock().timestamp())
        return build_page(serving, ranked, query.limit, carried.offset, reasons, model=carried.model, rest=rest)

    async def _at_least(self, revision: int, query: ListQuery) -> ServingState:
        """Another replica may know newer items than this process does."""
        serving = await self._serving(query)
        if serving.view.revision >= revision:
            return serving
        with suppress(DatabaseUnavailableError):
            await self._caught_up(query)
        return await self._serving(query)

    def _resumed(self, carried: Carried, serving: ServingState, query: ListQuery) -> RankedList:
        return self._finder.resumed(carried, serving, serving.allowed(query.filters, self._clock()))

    async def _reasons(
        self, serving: ServingState, ranked: RankedList, carried: Carried, query: ListQuery
    ) -> Sequence[tuple[Reason, ...]]:
        """Those that still add up to the score: after another event, or under another model, they explain nothing."""
        shown = slice(carried.offset, carried.offset + query.limit)
        nothing: Sequence[tuple[Reason, ...]] = [()] * len(ranked.positions[shown])
        if carried.model is None or serving.model != carried.model:
            return nothing
        found = await self._page_reasons.for_user(serving, ranked, query, carried.offset)
        return [
            reasons if _adds_up(reasons, score) else ()
            for reasons, score in zip(found, ranked.scores[shown].tolist(), strict=True)
        ]


def _adds_up(reasons: tuple[Reason, ...], score: float) -> bool:
    total = sum(reason.contribution for reason in reasons)
    return abs(total - score) <= _ROUNDING * max(1.0, abs(score))
