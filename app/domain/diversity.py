"""Orders that people like better than the plain one: less of the same (MMR), nothing twice, quotas kept. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]


def mmr_order(relevance: NDArray[np.float32], vectors: NDArray[np.float32], strength: float, n: int) -> Rows:
    """The `n` rows to show first, by maximal marginal relevance.

    Carbonell and Goldstein 1998 (https://doi.org/10.1145/290941.291025): each next one maximises
    (1 - strength) · relevance - strength · the largest cosine to what stands before it. `relevance` (m,) is brought to
    0…1; `vectors` (m, f) are of length 1, or 0 where nothing is known. Ties go to the lower row. O(m² f + n m).
    """
    m = len(relevance)
    n = min(n, m)
    if not n:
        return np.empty(0, dtype=np.intp)
    low, spread = float(relevance.min()), float(np.ptp(relevance))
    gain = ((relevance - low) * np.float32((1.0 - strength) / spread if spread > 0 else 0.0)).astype(np.float32)
    likeness = vectors @ vectors.T
    likeness *= np.float32(strength)
    chosen = np.empty(n, dtype=np.intp)
    chosen[0] = first = int(gain.argmax())
    nearest = likeness[first].copy()
    gain[first] = -np.inf
    value = np.empty_like(gain)
    for place in range(1, n):
        np.subtract(gain, nearest, out=value)
        chosen[place] = row = int(value.argmax())
        np.maximum(nearest, likeness[row], out=nearest)
        gain[row] = -np.inf
    return chosen


def unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, f) rows of length 1; rows of zeros stay."""
    lengths = np.sqrt(np.einsum("nf,nf->n", vectors, vectors))
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0)[:, None], dtype=np.float32)


def split_duplicates(keys: NDArray[np.int64]) -> tuple[Rows, Rows]:
    """(the first row of every key, the rows whose key stood before), each in order; key 0 is like no other."""
    _, first = np.unique(keys, return_index=True)
    is_first = keys == 0
    is_first[first] = True
    return np.flatnonzero(is_first), np.flatnonzero(~is_first)


def set_vectors(sets: Sequence[frozenset[str]], codes: NDArray[np.int32], columns: int = 64) -> NDArray[np.float32]:
    """(len(codes), columns) rows of length 1 that say which of the `sets` of words each code has; empty sets are 0.

    Two rows' product is the cosine of their sets; beyond `columns` different words some share a column.
    """
    used, back = np.unique(codes, return_inverse=True)
    words = {word: number % columns for number, word in enumerate(sorted({w for code in used for w in sets[code]}))}
    kinds = np.zeros((len(used), columns), dtype=np.float32)
    for row, code in enumerate(used.tolist()):
        for word in sets[code]:
            kinds[row, words[word]] += 1.0
    return unit_length(kinds)[back]


@dataclass(frozen=True, slots=True)
class PositionQuota:
    """Of the first `within` rows, at least and at most so many are `members` ((n,) bool over the rows)."""

    members: NDArray[np.bool_]
    within: int
    at_least: int = 0
    at_most: int | None = None

    def forbids(self, row: int, place: int, taken: int) -> bool:
        """Whether this row must not come at this place, with `taken` members before it."""
        if place >= self.within:
            return False
        if self.members[row]:
            return self.at_most is not None and taken >= self.at_most
        return self.at_least - taken >= self.within - place


def apply_quotas(n: int, shares: Sequence[PositionQuota], size: int) -> Rows:
    """Rows 0…n-1 in an order that keeps the shares, as near to the given one as that goes; at most `size`.

    Greedy: each place takes the first row that no share forbids, or the first one at all where every row is forbidden.
    """
    left = list(range(n))
    taken = [0] * len(shares)
    order: list[int] = []
    longest = max((share.within for share in shares), default=0)
    while left and len(order) < min(size, longest):
        place = len(order)
        row = next((row for row in left if not _forbidden(row, place, shares, taken)), left[0])
        left.remove(row)
        order.append(row)
        for number, share in enumerate(shares):
            taken[number] += bool(share.members[row])
    return np.array((order + left)[:size], dtype=np.intp)


def _forbidden(row: int, place: int, shares: Sequence[PositionQuota], taken: Sequence[int]) -> bool:
    return any(share.forbids(row, place, count) for share, count in zip(shares, taken, strict=True))
