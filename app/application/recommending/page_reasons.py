"""Reasons for the lines of a page: whose history they come from, and computed off the event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from app.application.ranking.explanation import explain
from app.application.ranking.serving_state import ServingState
from app.application.recommending.scoring_pool import ScoringPool
from app.application.recommending.user_context import UserContext, UserContextReader
from app.domain.exceptions import DatabaseUnavailableError
from app.domain.list_query import ListQuery, Reason
from app.domain.ranked_list import RankedList


class PageReasons:
    """`reasons[i]` belongs to the i-th of `limit` lines after `offset`."""

    def __init__(self, audience: UserContextReader, pool: ScoringPool, clock: Callable[[], datetime]) -> None:
        self._user_reader = audience
        self._pool = pool
        self._clock = clock

    async def for_user(
        self, serving: ServingState, ranked: RankedList, query: ListQuery, offset: int
    ) -> Sequence[tuple[Reason, ...]]:
        """By the history as it is now; while the database is away, by what does not come from a history."""
        try:
            user = await self._user_reader.user(query.user_id, serving, self._clock())
        except DatabaseUnavailableError:
            user = UserContext()
        return await self.for_person(serving, ranked, query.type, user, offset, query.limit)

    async def for_person(
        self, serving: ServingState, ranked: RankedList, wanted: str, user: UserContext, offset: int, limit: int
    ) -> Sequence[tuple[Reason, ...]]:
        """By this history and profile."""
        recommender, _reason = serving.answering(wanted)
        shown = ranked.positions[offset : offset + limit]
        return await self._pool.run(explain, serving, recommender, user.history, shown, self._clock(), user.profile)
