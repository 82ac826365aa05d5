"""What recommenders learn from and rank from: an id map, a training set, and histories.

Orientation is the same everywhere: users are rows, items are columns; `float32` scores, `int32` positions, Unix
seconds as `float64`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


class IdMap:
    """External text ids ↔ positions 0…n-1, in a fixed order.

    >>> IdMap(["a", "b"]).position("b")
    1
    """

    __slots__ = ("_positions", "ids")

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids: tuple[str, ...] = tuple(ids)
        self._positions = {external: position for position, external in enumerate(self.ids)}
        if len(self._positions) != len(self.ids):
            raise ValueError("ids must be distinct")

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, external: object) -> bool:
        return external in self._positions

    def position(self, external: str) -> int | None:
        """The position of an id, or None for one we do not know."""
        return self._positions.get(external)

    def positions(self, externals: Iterable[str]) -> NDArray[np.int32]:
        """Positions of those ids that are known, in the order given; unknown ones are left out."""
        known = (self._positions.get(external) for external in externals)
        return np.fromiter((p for p in known if p is not None), dtype=np.int32)

    def extended(self, externals: Iterable[str]) -> IdMap:
        """A map that also knows these ids, appended in the order given; ids known already are skipped."""
        return IdMap((*self.ids, *(e for e in dict.fromkeys(externals) if e not in self._positions)))


@dataclass(frozen=True, slots=True)
class Features:
    """Sparse features of users or items: `matrix` is (n, n_features) float32 CSR, `names` its column names.

    Names are `namespace:value` (`genre:Drama`, `tag:heist`, `title:matrix`, `year:1990s`, `gender:F`), so that a
    restored recommender can build the same columns for an item it has never seen.
    """

    matrix: sp.csr_matrix
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Histories:
    """Histories of a batch of users: within each, **newest first**, one entry per item.

    Row i is `items[indptr[i]:indptr[i + 1]]` with the matching `weights` (float32; negative = disliked) and `times`
    (Unix seconds). `now` is the moment to rank for. `profiles`, where given, is (n, n_user_features) and matches the
    training set's `user_features.names`.
    """

    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    weights: NDArray[np.float32]
    times: NDArray[np.float64]
    now: float
    profiles: sp.csr_matrix | None = None

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) number of entries per history."""
        return np.diff(self.indptr)

    def matrix(self, n_items: int) -> sp.csr_matrix:
        """(n, n_items) float32 CSR of the weights; the caller's own.

        A copy, as SciPy sorts, merges and drops entries in place: on shared arrays that rewrote the histories of
        whoever asked for a matrix (a second fit on the same dataset gave another model).
        """
        return sp.csr_matrix((self.weights, self.items, self.indptr), shape=(len(self), n_items), copy=True)

    def rows(self, start: int, stop: int) -> Histories:
        """The histories start…stop-1 as a batch of their own (views, nothing is copied but `indptr`)."""
        low, high = self.indptr[start], self.indptr[stop]
        return Histories(
            self.indptr[start : stop + 1] - low,
            self.items[low:high],
            self.weights[low:high],
            self.times[low:high],
            self.now,
            None if self.profiles is None else self.profiles[start:stop],
        )

    def batches(self, size: int) -> Iterator[tuple[int, Histories]]:
        """(first row, batch) for consecutive batches of at most `size` rows."""
        for start in range(0, len(self), size):
            yield start, self.rows(start, min(start + size, len(self)))

    @classmethod
    def single(
        cls,
        items: Sequence[int] | NDArray[np.int32],
        weights: Sequence[float] | NDArray[np.float32],
        times: Sequence[float] | NDArray[np.float64],
        now: float,
        profile: sp.csr_matrix | None = None,
    ) -> Histories:
        """A batch of one, the shape a request has."""
        return cls(
            np.array([0, len(items)], dtype=np.int64),
            np.asarray(items, dtype=np.int32),
            np.asarray(weights, dtype=np.float32),
            np.asarray(times, dtype=np.float64),
            now,
            profile,
        )


@dataclass(frozen=True, slots=True)
class Dataset:
    """A training set: `histories` has one row per user of `users`, positions refer to `items`.

    `now` of the histories is the end of the window. Feature matrices have one row per user/item, in map order.
    """

    users: IdMap
    items: IdMap
    histories: Histories
    item_features: Features | None = None
    user_features: Features | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def n_users(self) -> int:
        return len(self.users)

    @property
    def n_items(self) -> int:
        return len(self.items)

    def matrix(self) -> sp.csr_matrix:
        """(n_users, n_items) float32 CSR of the weights."""
        return self.histories.matrix(self.n_items)
