"""Reasons for the lines of a page: whose history they come from, and computed off the event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from app.application.recommending.audience import Audience, Person
from app.application.recommending.explanation import explain
from app.application.recommending.lists import ListQuery, Reason
from app.application.recommending.ranked_list import RankedList
from app.application.recommending.scoring_pool import ScoringPool
from app.application.serving.serving import Serving
from app.domain.exceptions import DatabaseUnavailableError


class Explaining:
    """`reasons[i]` belongs to the i-th of `limit` lines after `offset`."""

    def __init__(self, audience: Audience, pool: ScoringPool, clock: Callable[[], datetime]) -> None:
        self._audience = audience
        self._pool = pool
        self._clock = clock

    async def for_user(
        self, serving: Serving, ranked: RankedList, query: ListQuery, offset: int
    ) -> Sequence[tuple[Reason, ...]]:
        """By the history as it is now; while the database is away, by what does not come from a history."""
        try:
            person = await self._audience.person(query.user_id, serving, self._clock())
        except DatabaseUnavailableError:
            person = Person()
        return await self.for_person(serving, ranked, query.type, person, offset, query.limit)

    async def for_person(
        self, serving: Serving, ranked: RankedList, wanted: str, person: Person, offset: int, limit: int
    ) -> Sequence[tuple[Reason, ...]]:
        """By this history and profile."""
        recommender, _reason = serving.answering(wanted)
        shown = ranked.positions[offset : offset + limit]
        return await self._pool.run(explain, serving, recommender, person.history, shown, self._clock(), person.profile)
