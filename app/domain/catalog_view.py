"""The catalog as columns beside a model's items: what filters look at and what answers show.

A view is immutable: changes make a new one that shares what did not change. About 200 bytes an item, most of them the
ready JSON of its card, so that a million items take some 200 MB (plus the id map).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.dataset import IdMap
from app.domain.entities import Item
from app.domain.facets import Facet, facets_of, title_key
from app.domain.list_query import Filters

NO_YEAR = np.int16(-32_768)
EMPTY_CARD = b'"title":null,"metadata":{}'

_layouts = itertools.count(1)
_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class CatalogView:
    """Columns by position: first the `n_model` items of the model, then the others in the order they became known.

    `cards[p]` is the JSON text `"title": …, "metadata": {…}`; `genre_set[p]` (int32) a position in `genre_sets`, the
    distinct sets of lower-cased genres, the empty one first; `year` int16; `opens`, `closes` float64 Unix seconds
    between which an item may be shown (an unavailable one closes at -inf). `title_key` (int64) is equal for items of
    one title and year, and 0 without them. `facets`: tags and attributes as columns, those that somebody has asked for
    (`facet`), carried on from view to view. `revision` is the catalog's;
    `lists_revision` the last revision that could change who is in a list, rather than how a line of it looks. Within
    this process, views of one `layout` have the same item at the same position (later ones may have more items).
    """

    ids: IdMap
    n_model: int
    cards: tuple[bytes, ...]
    genre_sets: tuple[frozenset[str], ...]
    genre_set: NDArray[np.int32]
    year: NDArray[np.int16]
    opens: NDArray[np.float64]
    closes: NDArray[np.float64]
    title_key: NDArray[np.int64]
    revision: int = 0
    lists_revision: int = 0
    layout: int = 0
    facets: dict[str, Facet] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of_model(cls, ids: IdMap) -> CatalogView:
        """A view that knows a model's items by their ids alone."""
        n = len(ids)
        return cls(
            ids,
            n,
            (EMPTY_CARD,) * n,
            (frozenset(),),
            np.zeros(n, dtype=np.int32),
            np.full(n, NO_YEAR, dtype=np.int16),
            np.full(n, -np.inf),
            np.full(n, np.inf),
            np.zeros(n, dtype=np.int64),
            layout=next(_layouts),
        )

    def updated(self, upserted: Sequence[Item], removed: Collection[str], revision: int) -> CatalogView:
        """The view after these changes; items not known before are appended."""
        ids = self._ids_with([item.item_id for item in upserted])
        n = len(ids)
        columns = _Columns(
            list(self.cards) + [EMPTY_CARD] * (n - len(self)),
            dict(zip(self.genre_sets, range(len(self.genre_sets)), strict=True)),
            _grown(self.genre_set, n, np.int32(0)),
            _grown(self.year, n, NO_YEAR),
            _grown(self.opens, n, np.float64(-np.inf)),
            _grown(self.closes, n, np.float64(np.inf)),
            _grown(self.title_key, n, np.int64(0)),
            {name: facet.grown(n) for name, facet in self.facets.copy().items()},
        )
        moved = n > len(self)
        for item in upserted:
            position = ids.position(item.item_id)
            assert position is not None  # `ids` was extended by all of them
            moved |= columns.put(position, item)
        for position in ids.positions(removed).tolist():
            columns.closes[position] = -np.inf
            moved = True
        return columns.view(ids, self, revision, revision if moved else self.lists_revision)

    def knowing(self, item_ids: Sequence[str]) -> CatalogView:
        """The view with these items appended where it does not know them, by their ids alone."""
        ids = self._ids_with(item_ids)
        n = len(ids)
        return replace(
            self,
            ids=ids,
            cards=self.cards + (EMPTY_CARD,) * (n - len(self)),
            genre_set=_grown(self.genre_set, n, np.int32(0)),
            year=_grown(self.year, n, NO_YEAR),
            opens=_grown(self.opens, n, np.float64(-np.inf)),
            closes=_grown(self.closes, n, np.float64(np.inf)),
            title_key=_grown(self.title_key, n, np.int64(0)),
            layout=next(_layouts),
            facets={},
        )

    def _ids_with(self, item_ids: Sequence[str]) -> IdMap:
        return self.ids.extended(item_ids) if any(item_id not in self.ids for item_id in item_ids) else self.ids

    def allowed(self, filters: Filters, now: datetime) -> NDArray[np.bool_]:
        """(n,) which items may be in a list at `now`, by availability, genre and year; `exclude` is the caller's."""
        at = now.timestamp()
        mask = (self.opens <= at) & (at < self.closes)
        if filters.genres:
            mask &= self.of_genres(filters.genres)
        if filters.year_min is not None:
            mask &= self.year >= filters.year_min
        if filters.year_max is not None:
            mask &= (self.year <= filters.year_max) & (self.year != NO_YEAR)
        return mask

    def of_genres(self, genres: Collection[str]) -> NDArray[np.bool_]:
        """(n,) the items that have one of these genres."""
        wanted = {genre.lower() for genre in genres}
        return np.array([not wanted.isdisjoint(known) for known in self.genre_sets])[self.genre_set]

    def facet(self, name: str) -> Facet:
        """`tags` or `attributes.NAME` as a column. The first call reads every card: some microseconds an item."""
        facet = self.facets.get(name)
        if facet is None:
            # Two threads may both build it: they build the same.
            facet = self.facets[name] = Facet.of(name, self.cards)
        return facet

    def title(self, position: int) -> str | None:
        """The title on a card; slow, for the few items that reasons name."""
        card: Mapping[str, str | None] = msgspec.json.decode(b"{" + self.cards[position] + b"}")
        return card["title"]


@dataclass(slots=True)
class _Columns:
    """A view in the making."""

    cards: list[bytes]
    genre_sets: dict[frozenset[str], int]
    genre_set: NDArray[np.int32]
    year: NDArray[np.int16]
    opens: NDArray[np.float64]
    closes: NDArray[np.float64]
    title_key: NDArray[np.int64]
    facets: dict[str, Facet]

    def put(self, position: int, item: Item) -> bool:
        """Write one item; True if that can change who is in a list."""
        before, moved = self._filtered_by(position), False
        genres = frozenset(genre.lower() for genre in item.genres)
        self.genre_set[position] = self.genre_sets.setdefault(genres, len(self.genre_sets))
        self.year[position] = NO_YEAR if item.year is None else np.clip(item.year, 0, 32_767)
        self.opens[position] = -np.inf if item.available_from is None else item.available_from.timestamp()
        self.closes[position] = _closes(item)
        self.cards[position] = card(item)
        # A new title alone does not make every list anew: whether it is somebody's twin can wait for the next one.
        self.title_key[position] = title_key(item)
        for name, values in facets_of(item, self.facets).items():
            moved |= self.facets[name].put(position, values)
        return moved or self._filtered_by(position) != before

    def view(self, ids: IdMap, old: CatalogView, revision: int, lists_revision: int) -> CatalogView:
        return replace(
            old,
            ids=ids,
            cards=tuple(self.cards),
            genre_sets=tuple(self.genre_sets),
            genre_set=self.genre_set,
            year=self.year,
            opens=self.opens,
            closes=self.closes,
            title_key=self.title_key,
            revision=revision,
            lists_revision=lists_revision,
            facets=self.facets,
        )

    def _filtered_by(self, position: int) -> tuple[int, int, float, float]:
        return (
            int(self.genre_set[position]),
            int(self.year[position]),
            float(self.opens[position]),
            float(self.closes[position]),
        )


def card(item: Item) -> bytes:
    """`"title": …, "metadata": {…}` of an item, without braces around it; what is not known of it is left out."""
    metadata: dict[str, object] = {"genres": item.genres, "tags": item.tags, "year": item.year}
    if item.published_at is not None:
        metadata["published_at"] = item.published_at.astimezone(UTC)
    if item.attributes:
        metadata["attributes"] = item.attributes
    return msgspec.json.encode({"title": item.title, "metadata": metadata})[1:-1]


def _closes(item: Item) -> float:
    if not item.available:
        return -np.inf
    return np.inf if item.available_until is None else item.available_until.timestamp()


def _grown(column: NDArray[_Scalar], n: int, fill: _Scalar) -> NDArray[_Scalar]:
    """A copy of a column with n rows, the new ones `fill`."""
    grown = np.full(n, fill, dtype=column.dtype)
    grown[: len(column)] = column
    return grown
