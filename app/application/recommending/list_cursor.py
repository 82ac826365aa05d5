"""The rest of a list, as its cursor carries it from page to page.

Whoever turns the page sees the list that began, whatever was lost or changed meanwhile: cache, model, history, process,
replica. Nothing is kept here for a page that may never be asked for (docs/adr/0023-cursors-carry-the-list.md). Items go
by 48 bits of a hash, 10 bytes each with their scores, however long their ids are: among a million items one reference
in 280 million could be taken for another item's.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.application.ranking.serving_state import ServingState
from app.domain.catalog_view import CatalogView
from app.domain.exceptions import CursorError, ExpiredCursorError
from app.domain.list_query import ModelRef
from app.domain.ranked_list import RankedList

CURSOR_SECONDS = 3_600.0
"""A cursor is good for an hour: as long as a list is by default."""

MAX_CARRIED = 480
"""Items after a page: with them a cursor is below 7,000 characters, and the whole address below its bound of 8,192."""

_FORMAT = 1
_REF_BYTES = 6
_KEPT_LAYOUTS = 3
_MAX_BYTES = 8_192


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    """The bytes' layout, before compression; `scores` float32, `sources` uint8 into `source_names`, `slot` a row."""

    format: int
    expires: int
    revision: int
    offset: int
    model: tuple[str, str, int] | None
    fallback: str | None
    as_of: float
    refs: bytes
    scores: bytes
    sources: bytes
    source_names: tuple[str, ...]
    slot: int
    propensity: float


_DECODER = msgspec.msgpack.Decoder(_Packed)


@dataclass(frozen=True, slots=True)
class Carried:
    """What is left of a list: `refs` (n,) uint64, `scores` float32, `sources` uint8, from line `offset` + 1 on.

    `revision`: of the catalog that the list was made from. `slot`: the row of the whole list that explores.
    """

    revision: int
    offset: int
    model: ModelRef | None
    fallback: str | None
    as_of: float
    refs: NDArray[np.uint64]
    scores: NDArray[np.float32]
    sources: NDArray[np.uint8]
    source_names: tuple[str, ...]
    slot: int
    propensity: float


def pack(view: CatalogView, model: ModelRef | None, ranked: RankedList, offset: int, now: float) -> bytes:
    """The lines of `ranked` from `offset` on, for an hour; empty where there are none."""
    rest = slice(offset, offset + MAX_CARRIED)
    positions = ranked.positions[rest].tolist()
    if not positions:
        return b""
    packed = _Packed(
        _FORMAT,
        int(now + CURSOR_SECONDS),
        view.revision,
        offset,
        None if model is None else (model.model_id, model.model_type, model.version),
        ranked.fallback,
        ranked.as_of,
        b"".join([_ref(view.ids.ids[position]) for position in positions]),
        ranked.scores[rest].astype("<f4").tobytes(),
        ranked.sources[rest].tobytes(),
        ranked.source_names,
        ranked.slot,
        ranked.propensity,
    )
    return zlib.compress(msgspec.msgpack.encode(packed), 1)


def unpack(data: bytes, now: float) -> Carried:
    """What `pack` made. Raises ExpiredCursorError after its hour, CursorError for a cursor of another kind of list."""
    try:
        reader = zlib.decompressobj()
        packed = _DECODER.decode(reader.decompress(data, _MAX_BYTES))
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError):
        raise CursorError from None
    if packed.format != _FORMAT:
        raise CursorError
    if now >= packed.expires:
        raise ExpiredCursorError
    refs = np.frombuffer(packed.refs, dtype=np.uint8).reshape(-1, _REF_BYTES)
    wide = np.zeros((len(refs), 8), dtype=np.uint8)
    wide[:, :_REF_BYTES] = refs
    return Carried(
        packed.revision,
        packed.offset,
        None if packed.model is None else ModelRef(*packed.model),
        packed.fallback,
        packed.as_of,
        wide.view("<u8").ravel().astype(np.uint64),
        np.frombuffer(packed.scores, dtype="<f4").astype(np.float32),
        np.frombuffer(packed.sources, dtype=np.uint8),
        packed.source_names,
        packed.slot,
        packed.propensity,
    )


class Finder:
    """Finds the items of references again. Safe from several threads: at worst two of them build the same table."""

    def __init__(self) -> None:
        self._tables: OrderedDict[int, tuple[NDArray[np.uint64], NDArray[np.int64]]] = OrderedDict()

    def resumed(self, carried: Carried, serving: ServingState, allowed: NDArray[np.bool_]) -> RankedList:
        """The list from line `carried.offset` on; what stands before it is not known any more, and is item 0.

        Items that may not be shown any more, or that nobody knows any more, are left out; the others move up. Blocking:
        a microsecond for each item that no cursor has asked for yet.
        """
        positions = self._positions(carried.refs, serving.view)
        is_there = positions >= 0
        is_there[is_there] = allowed[positions[is_there]]
        lead, row = carried.offset, carried.slot - carried.offset
        has_slot = 0 <= row < len(is_there) and bool(is_there[row])
        return RankedList(
            carried.as_of,
            np.inf,
            carried.fallback,
            None,
            np.concatenate([np.zeros(lead, dtype=np.int32), positions[is_there].astype(np.int32)]),
            np.concatenate([np.zeros(lead, dtype=np.float32), carried.scores[is_there]]),
            np.concatenate([np.zeros(lead, dtype=np.uint8), carried.sources[is_there]]),
            carried.source_names,
            lead + int(is_there[:row].sum()) if has_slot else -1,
            carried.propensity if has_slot else 1.0,
        )

    def _positions(self, refs: NDArray[np.uint64], view: CatalogView) -> NDArray[np.int64]:
        """(len(refs),) where these items are in the view, -1 for those that are not."""
        known, order = self._table(view)
        if not len(known):
            return np.full(len(refs), -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(known, refs, sorter=order), len(known) - 1)
        found = order[places]
        return np.where(known[found] == refs, found, -1)

    def _table(self, view: CatalogView) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """The references of all items by position, and their order. Later views of a layout only have more items."""
        known, order = self._tables.get(view.layout, (np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)))
        if len(known) < len(view):
            known = np.concatenate([known, _refs(view.ids.ids[len(known) :])])
            order = np.argsort(known, kind="stable")
            self._tables[view.layout] = known, order
            while len(self._tables) > _KEPT_LAYOUTS:
                self._tables.popitem(last=False)
        return known, order


def _ref(item_id: str) -> bytes:
    return blake2b(item_id.encode(), digest_size=_REF_BYTES).digest()


def _refs(item_ids: Sequence[str]) -> NDArray[np.uint64]:
    padding = bytes(8 - _REF_BYTES)
    return np.frombuffer(b"".join([_ref(item_id) + padding for item_id in item_ids]), dtype="<u8").astype(np.uint64)
