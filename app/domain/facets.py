"""What rules may select items by besides ids, genres and years: tags and attributes, as columns of a view."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.entities import Item
from app.domain.keys import key_text

TAGS = "tags"
ATTRIBUTE = "attributes."


def title_key(item: Item) -> int:
    """Equal for items of one title and year, up to case and spaces; 0 where one of them is not known.

    Remakes differ by year, and posts without a year may share a title without being the same.
    """
    if not item.title or item.year is None:
        return 0
    text = key_text(" ".join(item.title.casefold().split()), item.year)
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True)


def facets_of(item: Item, names: Collection[str]) -> dict[str, frozenset[str]]:
    """Facet name → the item's values, for these facets."""
    return {name: _values(name, item.tags, item.attributes) for name in names}


def _values(name: str, tags: Iterable[str], attributes: Mapping[str, object]) -> frozenset[str]:
    if name == TAGS:
        return lowered(tags)
    value = attributes.get(name.removeprefix(ATTRIBUTE))
    values = value if isinstance(value, (list, tuple)) else (value,)
    # Nothing is no value: it must not share a quota with an item whose value is the word "None".
    return lowered(str(each) for each in values if each is not None)


def lowered(texts: Iterable[str]) -> frozenset[str]:
    """How values are compared."""
    return frozenset(text.strip().lower() for text in texts)


@dataclass(slots=True)
class Facet:
    """A column of sets of values: `codes[p]` (int32) is a position in `sets`, distinct, the empty one first."""

    sets: dict[frozenset[str], int]
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, name: str, cards: Sequence[bytes]) -> Facet:
        """The facet of these cards."""
        facet = cls({frozenset(): 0}, np.zeros(len(cards), dtype=np.int32))
        for position, card in enumerate(cards):
            metadata = _DECODER.decode(b"{" + card + b"}").metadata
            facet.put(position, _values(name, metadata.tags, metadata.attributes))
        return facet

    def grown(self, n: int) -> Facet:
        """A copy for n items, the new ones without values."""
        codes = np.zeros(n, dtype=np.int32)
        codes[: len(self.codes)] = self.codes
        return Facet(dict(self.sets), codes)

    def put(self, position: int, values: frozenset[str]) -> bool:
        """Write one item; True if that changed it."""
        code = self.sets.setdefault(values, len(self.sets))
        changed = bool(self.codes[position] != code)
        self.codes[position] = code
        return changed

    def matching(self, wanted: Collection[str]) -> NDArray[np.bool_]:
        """(n,) the items that have one of these values."""
        values = lowered(wanted)
        return np.array([not values.isdisjoint(known) for known in self.sets])[self.codes]


class _Metadata(msgspec.Struct):
    tags: tuple[str, ...] = ()
    attributes: dict[str, object] = {}


class _Card(msgspec.Struct):
    metadata: _Metadata


_DECODER = msgspec.json.Decoder(_Card)
