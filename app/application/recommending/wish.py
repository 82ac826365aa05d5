"""One request for a list: what is asked, the state it is answered from, the names of its list, and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from app.application.recommending.audience import Person
from app.application.recommending.list_making import Task
from app.application.recommending.lists import Filters, ListQuery, Page
from app.application.recommending.rules import AS_USUAL
from app.application.serving.serving import Serving
from app.domain.interfaces import Quota
from app.domain.keys import key_text

NO_FILTERS = Filters()

Key = tuple[str, str, int | None, int]
"""Owner, variant in process memory, generation in the cache, ticket of process memory."""


@dataclass(frozen=True, slots=True)
class Wish:
    """`generation` is the cache's (None: the cache is away), `ticket` that of this process's memory.

    `variant` names the list among all of its user's lists; `is_our_turn`: no other process is computing it.
    """

    query: ListQuery
    serving: Serving
    generation: int | None
    ticket: int
    variant: str
    is_our_turn: bool = True

    @property
    def user_id(self) -> str:
        return self.query.user_id

    @property
    def near_variant(self) -> str:
        """The name of the list in process memory."""
        return key_text(self.serving.view.layout, self.variant)

    @property
    def key(self) -> Key:
        """Requests with the same key may share a computation: nothing has changed between them."""
        return self.query.user_id, self.near_variant, self.generation, self.ticket

    def task(self, size: int, person: Person, seed: str) -> Task:
        """What to compute for it."""
        query = self.query
        owner = self.user_id if person.history else ""
        return Task(query.type, query.filters, person.history, size, person.profile, query.shape, seed, owner)

    @property
    def seed(self) -> str:
        """The same in every process until an event changes the list."""
        return key_text(self.user_id, self.generation)

    @property
    def is_filtered(self) -> bool:
        return self.query.filters != NO_FILTERS or self.query.shape != AS_USUAL


def variant_of(serving: Serving, query: ListQuery) -> str:
    """Model, state of the catalogue, type, filters and shape."""
    if query.filters == NO_FILTERS and query.shape is AS_USUAL:
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
class Answer:
    """`page` is None if the quota refuses; `quota` is None if none was asked for, or the cache is away."""

    page: Page | None
    quota: Quota | None
