"""When there is no model: the most used items, counted by the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from app.application.ranking.serving_state import ServingState
from app.domain.dataset import Histories
from app.domain.exceptions import DatabaseUnavailableError
from app.domain.recommender import Scorer
from app.domain.reranking import resolve_rules
from app.domain.stores import InteractionStore

MAX_COUNTED = 1_000
"""Enough that filters and what was seen still leave a full list."""

RECENT = timedelta(days=90)
EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PopularityScorer(Scorer):
    """Scores that are the same for everyone. `scores` is (n_items,) float32."""

    scores: NDArray[np.float32]
    name: str = "popularity"

    @property
    def n_items(self) -> int:
        return len(self.scores)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
        return np.tile(self.scores if items is None else self.scores[items], (len(histories), 1))


class PopularityFallback:
    """Counts at most every `refresh_seconds`; while the database is away the last count serves on."""

    def __init__(
        self,
        interactions: InteractionStore,
        clock: Callable[[], datetime],
        refresh_seconds: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interactions = interactions
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._monotonic = monotonic
        self._counts: Sequence[tuple[str, float]] = ()
        self._due = 0.0
        self._made: tuple[ServingState, ServingState] | None = None

    async def serving(self, bare: ServingState) -> ServingState:
        """The same catalog with counted scores instead of a model."""
        if self._monotonic() >= self._due:
            await self._count()
        if self._made is None or self._made[0] is not bare:
            self._made = (bare, self._scored(bare))
        return self._made[1]

    def _scored(self, bare: ServingState) -> ServingState:
        view = bare.view.knowing([item_id for item_id, _users in self._counts])
        scores = np.zeros(len(view), dtype=np.float32)
        positions = view.ids.positions(item_id for item_id, _users in self._counts)
        scores[positions] = [users for _item_id, users in self._counts]
        return replace(
            bare,
            view=view,
            popularity_fallback=PopularityScorer(scores),
            rules=resolve_rules(bare.ranking_policy.rules, view),
        )

    async def _count(self) -> None:
        self._due = self._monotonic() + self._refresh_seconds
        try:
            counts = await self._interactions.popular(self._clock() - RECENT, MAX_COUNTED)
            self._counts = counts or await self._interactions.popular(EVER, MAX_COUNTED)
            self._made = None
        except DatabaseUnavailableError:
            # The adapter counts its own failures; an old count is better than none.
            return
