"""A whole ranked list as it is kept in caches: some 1 kB for 100 items."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.catalog_view import CatalogView

_FORMAT = 2


@dataclass(frozen=True, slots=True)
class RankedList:
    """Positions (int32, in the view it was made with), scores (float32) and sources (uint8, into `source_names`).

    `fallback` is the reason code if a simpler source answered. `segment` instead of items: the list is that of this
    segment, shared by everybody without a history. `as_of`, `good_until`: Unix seconds. `slot`: the row that explores,
    -1 if none does; `propensity`: the chance with which its item came there.
    """

    as_of: float
    good_until: float
    fallback: str | None = None
    segment: str | None = None
    positions: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    scores: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    sources: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    source_names: tuple[str, ...] = ()
    slot: int = -1
    propensity: float = 1.0

    def __len__(self) -> int:
        return len(self.positions)

    def as_fallback(self, reason: str) -> RankedList:
        """The same list as a fallback for this reason."""
        return replace(self, fallback=reason)


class _Stored(msgspec.Struct, array_like=True, frozen=True):
    """The bytes' layout. `owner` and `label` are checked on reading: a wrong key can never answer."""

    format: int
    owner: str
    label: str
    as_of: float
    good_until: float
    fallback: str | None
    segment: str | None
    positions: bytes
    scores: bytes
    sources: bytes
    source_names: tuple[str, ...]
    newer_ids: tuple[str, ...]
    slot: int
    propensity: float


_DECODER = msgspec.msgpack.Decoder(_Stored)


def encode_list(ranked: RankedList, owner: str, label: str, view: CatalogView) -> bytes:
    """Bytes of a list. Items the model does not know go by id: their positions differ from process to process."""
    newer = np.flatnonzero(ranked.positions >= view.n_model)
    positions = ranked.positions.astype("<i4")
    positions[newer] = view.n_model + np.arange(len(newer), dtype=np.int32)
    stored = _Stored(
        _FORMAT,
        owner,
        label,
        ranked.as_of,
        ranked.good_until,
        ranked.fallback,
        ranked.segment,
        positions.tobytes(),
        ranked.scores.astype("<f4").tobytes(),
        ranked.sources.tobytes(),
        ranked.source_names,
        tuple(view.ids.ids[position] for position in ranked.positions[newer].tolist()),
        ranked.slot,
        ranked.propensity,
    )
    return msgspec.msgpack.encode(stored)


def decode_list(value: bytes, owner: str, label: str, view: CatalogView) -> RankedList | None:
    """The list, or None if the bytes are damaged, somebody else's, or made under another label or catalog."""
    try:
        stored = _DECODER.decode(value)
        positions = np.frombuffer(stored.positions, dtype="<i4").astype(np.int32)
        scores = np.frombuffer(stored.scores, dtype="<f4").astype(np.float32)
        sources = np.frombuffer(stored.sources, dtype=np.uint8)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None
    if stored.format != _FORMAT or stored.owner != owner or stored.label != label:
        return None
    if not len(positions) == len(scores) == len(sources) or not _resolved(positions, stored.newer_ids, view):
        return None
    if len(sources) and int(sources.max()) >= len(stored.source_names):
        return None
    return RankedList(
        stored.as_of,
        stored.good_until,
        stored.fallback,
        stored.segment,
        positions,
        scores,
        sources,
        stored.source_names,
        stored.slot,
        stored.propensity,
    )


def _resolved(positions: NDArray[np.int32], newer_ids: tuple[str, ...], view: CatalogView) -> bool:
    """Put the positions of newer items in place; False if one of them is not known here."""
    newer = np.flatnonzero(positions >= view.n_model)
    known = view.ids.positions(newer_ids)
    if len(known) != len(newer) or (positions < 0).any():
        return False
    positions[newer] = known
    return True
