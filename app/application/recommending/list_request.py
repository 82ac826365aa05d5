"""One request for a list: what is asked, the state it is answered from, the names of its list, and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from app.application.ranking.list_ranking import RankingTask
from app.application.ranking.serving_state import ServingState
from app.application.recommending.user_context import UserContext
from app.domain.interfaces import RateLimitStatus
from app.domain.keys import key_text
from app.domain.list_query import Filters, ListQuery, Page
from app.domain.rules import DEFAULT_RERANK

NO_FILTERS = Filters()

RequestKey = tuple[str, str, int | None, int]
"""Owner, variant in process memory, generation in the cache, ticket of process memory."""


@dataclass(frozen=True, slots=True)
class ListRequest:
    """`generation` is the cache's (None: the cache is away), `ticket` that of this process's memory.

    `variant` names the list among all of its user's lists; `has_lease`: no other process is computing it.
    """

    query: ListQuery
    serving: ServingState
    generation: int | None
    ticket: int
    variant: str
    has_lease: bool = True

    @property
    def user_id(self) -> str:
        return self.query.user_id

    @property
    def local_cache_key(self) -> str:
        """The name of the list in process memory."""
        return key_text(self.serving.view.layout, self.variant)

    @property
    def key(self) -> RequestKey:
        """Requests with the same key may share a computation: nothing has changed between them."""
        return self.query.user_id, self.local_cache_key, self.generation, self.ticket

    def task(self, size: int, user: UserContext, seed: str) -> RankingTask:
        """What to compute for it."""
        query = self.query
        owner = self.user_id if user.history else ""
        return RankingTask(query.type, query.filters, user.history, size, user.profile, query.shape, seed, owner)

    @property
    def seed(self) -> str:
        """The same in every process until an event changes the list."""
        return key_text(self.user_id, self.generation)

    @property
    def is_filtered(self) -> bool:
        return self.query.filters != NO_FILTERS or self.query.shape != DEFAULT_RERANK


def variant_of(serving: ServingState, query: ListQuery) -> str:
    """Model, state of the catalog, type, filters and shape."""
    if query.filters == NO_FILTERS and query.shape is DEFAULT_RERANK:
        return key_text(serving.label, query.type)
    filters = query.filters
    parts = (
        filters.exclude_seen,
        sorted(filters.exclude),
        sorted(genre.lower() for genre in filters.genres),
        filters.year_min,
        filters.year_max,
        # Sorted, as sets of texts are walked in another order by every process.
        msgspec.json.encode(query.shape, order="deterministic"),
    )
    return key_text(serving.label, query.type, blake2b(repr(parts).encode(), digest_size=12).hexdigest())


@dataclass(frozen=True, slots=True)
class ListResponse:
    """`page` is None if the quota refuses; `quota` is None if none was asked for, or the cache is away."""

    page: Page | None
    quota: RateLimitStatus | None
