"""What the blend says of items nobody has touched yet: the mean of what it says of items with like features.

Factors and content place such items by themselves. Popularity, neighbours and sequences know nothing of them, and
nothing is the lowest score there is: a new item would wait behind all others. The mean over its peers is what to
expect of it until it has a record of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.exceptions import ArtifactDamagedError
from app.domain.recommender import Scorer
from app.models.base import Array, Floats, csr_arrays, take, take_csr
from app.models.linalg import unit_rows
from app.models.neighbours import top_of_rows

_PEERS = 100
"""Of each new item. Among cold films of ML-1M 20, 100 and 1,000 gave Recall@20 .191, .213 and .216 (ADR 0003)."""

_KNOWN = 4_000
"""Items that may be peers, evenly spaced by popularity so that their mean is that of the catalog."""

_BLOCK_CELLS = 20_000_000


@dataclass(frozen=True, slots=True)
class Peers:
    """`row[p]` (n_items,) int32: the row of item p in `matrix`, -1 for items with a record of their own.

    `matrix`: (n_new, n_training_items) float32 CSR, rows sum to one, or to zero where nothing is alike. `known`: int32
    positions of the possible peers; `features`: their unit feature rows.
    """

    row: NDArray[np.int32]
    matrix: sp.csr_matrix
    known: NDArray[np.int32]
    features: sp.csr_matrix

    @classmethod
    def nobody(cls, n_items: int) -> Peers:
        """Every item speaks for itself."""
        return cls(
            np.full(n_items, -1, dtype=np.int32),
            sp.csr_matrix((0, n_items), dtype=np.float32),
            np.empty(0, dtype=np.int32),
            sp.csr_matrix((0, 0), dtype=np.float32),
        )

    @classmethod
    def learn(cls, dataset: Dataset, as_new: NDArray[np.bool_] | None = None) -> Peers:
        """From the features of the training items; without features nobody has any.

        `as_new`: (n_items,) items to treat as if nobody had touched them.
        """
        n_items = dataset.n_items
        nobody = cls.nobody(n_items)
        if dataset.item_features is None:
            return nobody
        liked = dataset.histories.items[dataset.histories.weights > 0]
        counts = np.bincount(liked, minlength=n_items)
        counts = counts if as_new is None else np.where(as_new, 0, counts)
        described = np.diff(dataset.item_features.matrix.indptr) > 0
        able = np.flatnonzero((counts > 0) & described)
        by_count = able[np.argsort(counts[able], kind="stable")]
        spread = np.unique(np.linspace(0, len(able) - 1, min(len(able), _KNOWN)).astype(np.int64))
        known = np.sort(by_count[spread]).astype(np.int32) if len(able) else nobody.known
        warm = replace(nobody, known=known, features=unit_rows(dataset.item_features.matrix[known]))
        new = np.flatnonzero(counts == 0)
        row = warm.row.copy()
        row[new] = np.arange(len(new), dtype=np.int32)
        return replace(warm, row=row, matrix=warm._alike(dataset.item_features.matrix[new]))

    @classmethod
    def restore(cls, arrays: Mapping[str, Array], n_items: int) -> Peers:
        """From what `arrays` gave. Raises ArtifactDamagedError."""
        known = take(arrays, "peers.known", (None,), np.int32).astype(np.int32)
        row = take(arrays, "peers.row", (n_items,), np.int32).astype(np.int32)
        matrix = take_csr(arrays, "peers.matrix", int(row.max(initial=-1)) + 1)
        features = take_csr(arrays, "peers.features", len(known))
        n_training = matrix.shape[1]
        if (
            n_training > n_items
            or row.min(initial=-1) < -1
            or known.min(initial=0) < 0
            or known.max(initial=-1) >= n_training
        ):
            raise ArtifactDamagedError("peers", "they are not among the items")
        return cls(row, matrix, known, features)

    def arrays(self) -> dict[str, Array]:
        """For the artifact."""
        matrices = {**csr_arrays("peers.matrix", self.matrix), **csr_arrays("peers.features", self.features)}
        return {"peers.row": self.row, "peers.known": self.known, **matrices}

    def extended(self, features: sp.csr_matrix) -> Peers:
        """With new items appended, `features` as in `Recommender.extended`."""
        alike = self._alike(features)
        first = self.matrix.shape[0]
        row = np.concatenate([self.row, np.arange(first, first + features.shape[0], dtype=np.int32)])
        return replace(self, row=row, matrix=sp.csr_matrix(sp.vstack([self.matrix, alike]), dtype=np.float32))

    def score(self, member: Scorer, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        """As `member.score`, with the mean of their peers for new items."""
        if not self.matrix.nnz or (items is not None and (self.row[items] < 0).all()):
            return member.score(histories, items)
        if items is not None:
            asked, weights = self.behind(items)
            return _mean(weights, member.score(histories, asked))
        scores = member.score(histories).copy()
        scores[:, self.row >= 0] = _mean(self.matrix, scores[:, : self.matrix.shape[1]])
        return scores

    def behind(self, items: NDArray[np.int32]) -> tuple[NDArray[np.int32], sp.csr_matrix]:
        """(positions that speak for these items, (len(items), len(positions)) float32 weights with which they do)."""
        rows = self.row[items]
        new = np.flatnonzero(rows >= 0)
        own = np.flatnonzero(rows < 0)
        chosen = self.matrix[rows[new]].tocoo()
        asked, column = np.unique(np.concatenate([items[own], chosen.col]), return_inverse=True)
        data = np.concatenate([np.ones(len(own), dtype=np.float32), chosen.data])
        row = np.concatenate([own, new[chosen.row]])
        return asked.astype(np.int32), sp.csr_matrix((data, (row, column)), shape=(len(items), len(asked)))

    def _alike(self, features: sp.csr_matrix) -> sp.csr_matrix:
        """(n_new, n_training_items): the nearest by cosine, weighted by it; rows sum to one."""
        n_new, n_training = features.shape[0], self.matrix.shape[1]
        if not len(self.known) or not n_new:
            return sp.csr_matrix((n_new, n_training), dtype=np.float32)
        rows, block = unit_rows(features), max(1, _BLOCK_CELLS // len(self.known))
        transposed = self.features.T.tocsr()
        parts = [top_of_rows((rows[at : at + block] @ transposed).tocsr(), _PEERS) for at in range(0, n_new, block)]
        nearest = sp.csr_matrix(sp.vstack(parts), dtype=np.float32)
        sums = np.asarray(nearest.sum(axis=1)).ravel()
        nearest.data /= np.repeat(np.maximum(sums, np.finfo(np.float32).tiny), np.diff(nearest.indptr))
        return sp.csr_matrix(
            (nearest.data, self.known[nearest.indices], nearest.indptr), shape=(n_new, n_training), dtype=np.float32
        )


@dataclass(frozen=True, slots=True)
class ThroughPeers(Scorer):
    """A member that speaks of new items through their peers."""

    name: str
    member: Scorer
    peers: Peers

    @property
    def n_items(self) -> int:
        return self.member.n_items

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        return self.peers.score(self.member, histories, items)


def _mean(weights: sp.csr_matrix, scores: Floats) -> Floats:
    """(len(scores), len(weights))."""
    return np.asarray((weights @ scores.T).T, dtype=np.float32)
