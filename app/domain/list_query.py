"""What is asked of the recommendation use case, and what it answers: plain values shared by it and its callers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.domain.rules import DEFAULT_RERANK, RerankOptions

SeenPolicy = Literal["auto", "always", "never"]
"""Whether lists leave out what was seen where nobody says: as training found (auto), always, or never."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What may be in a list. Empty collections and None mean: no restriction. `genres` are alternatives.

    `exclude_seen`: None leaves it to the setting `exclude_seen` and, by default, to the model.
    """

    exclude_seen: bool | None = None
    exclude: frozenset[str] = frozenset()
    genres: frozenset[str] = frozenset()
    year_min: int | None = None
    year_max: int | None = None


@dataclass(frozen=True, slots=True)
class ListQuery:
    """One request for a list. `type` is hybrid, collaborative, content, sequential, popular, als, bpr or lightfm.

    `model_id`: the model an arm of an experiment pins; None: the champion.
    """

    user_id: str
    type: str = "hybrid"
    limit: int = 10
    offset: int = 0
    filters: Filters = Filters()
    explain: bool = False
    shape: RerankOptions = DEFAULT_RERANK
    model_id: str | None = None


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """One entry of an anonymous history, newest first in the query; `weight` as signals would give it."""

    item_id: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """A list for somebody without an id: the history travels in the request."""

    history: tuple[SessionEvent, ...]
    type: str = "hybrid"
    limit: int = 10
    filters: Filters = Filters()
    explain: bool = False
    shape: RerankOptions = DEFAULT_RERANK


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item is in the list; contributions add up to its score, and are against what a typical item gets.

    `kind` is because_you_watched (with the item; these come first), history (what its items carry together, and the
    weaker ones), popular or profile, and typical (last: what a typical item gets from this person); pinned and explored
    say why it stands where it stands, and add nothing to the score.
    """

    kind: str
    contribution: float
    item_id: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class RankedItem:
    """One line of a list. `card` is the ready JSON text of `"title": …, "metadata": {…}` (no braces around it).

    `propensity`: the chance with which this item came to stand here; 1 except in the place that explores.
    """

    item_id: str
    rank: int
    score: float
    source: str
    card: bytes
    reasons: tuple[Reason, ...] = ()
    propensity: float = 1.0


@dataclass(frozen=True, slots=True)
class ModelRef:
    """The model that answered."""

    model_id: str
    model_type: str
    version: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a ranked list. `etag` changes whenever the body would (request id, times and cursor apart).

    `rest`: what a cursor carries of the lines after it (list_cursor.py); empty on the last page and without cursors.
    """

    items: tuple[RankedItem, ...]
    total: int
    limit: int
    offset: int
    model: ModelRef | None
    is_fallback: bool
    fallback_reason: str | None
    as_of: datetime
    etag: str
    from_cache: bool = False
    rest: bytes = b""
