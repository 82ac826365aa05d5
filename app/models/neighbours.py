"""Item-to-item neighbours: RP3β random walks, normalised co-occurrence and directed transitions, kept as top-k lists.

`rp3`: three steps on the user-item graph, transition probabilities to the power `alpha`, popular targets damped by
count ** `beta` (Paudel et al. 2017, https://doi.org/10.1145/2955101). `item-item`: co-occurrence with users weighted
1/√length and items 1/√count, the linear part of a graph filter (Shen et al. 2021, https://arxiv.org/abs/2108.07567).
`transitions`: how often an item came within a few steps after another (app/models/transitions.py).

With `decay` < 1 the entry n steps back in a history speaks with weight decayⁿ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.recommender import Neighbourhood, ProgressCallback, Recommender
from app.models.base import Array, Floats, as_parameters, csr_arrays, parse_parameters, positives, take_csr, take_floats
from app.models.linear import decayed, inputs, losses_by_rank, scaled
from app.models.transitions import TransitionParameters, transition_weights

_LONGEST = 1_000
"""Users with more liked items than this are cut down in training: the cost is quadratic, the extra signal is not."""

_BLOCK_CELLS = 20_000_000


@dataclass(frozen=True, slots=True)
class WalkParameters:
    """Of rp3."""

    neighbours: int = 200
    alpha: float = 0.8
    beta: float = 0.3
    decay: float = 1.0


@dataclass(frozen=True, slots=True)
class CooccurrenceParameters:
    """Of item-item. `damping` is the power of the target's count: 0.5 is the symmetric filter, 1 cosine-like."""

    neighbours: int = 300
    user_power: float = 0.5
    damping: float = 0.5
    decay: float = 1.0


NeighbourParameters = WalkParameters | CooccurrenceParameters | TransitionParameters


class NeighbourRecommender(Recommender, Neighbourhood):
    """A history's neighbours, summed."""

    def __init__(self, name: str, parameters: NeighbourParameters) -> None:
        self.name = name
        self._parameters = parameters
        self._neighbours = sp.csr_matrix((0, 0), dtype=np.float32)
        self._mean_weight = 1.0

    @classmethod
    def build(cls, name: str, parameters: Mapping[str, object]) -> NeighbourRecommender:
        """Unfitted, from JSON parameters."""
        if name == "rp3":
            return cls(name, parse_parameters(WalkParameters, parameters))
        if name == "transitions":
            return cls(name, parse_parameters(TransitionParameters, parameters))
        return cls(name, parse_parameters(CooccurrenceParameters, parameters))

    @classmethod
    def restore(cls, name: str, parameters: Mapping[str, object], arrays: Mapping[str, Array]) -> NeighbourRecommender:
        """Fitted, from its arrays."""
        restored = cls.build(name, parameters)
        restored._neighbours = take_csr(arrays, "neighbours")
        restored._mean_weight = float(take_floats(arrays, "mean_weight", 1)[0])
        return restored

    @property
    def n_items(self) -> int:
        return int(self._neighbours.shape[0])

    @property
    def neighbours(self) -> sp.csr_matrix:
        return self._neighbours

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        liked = shortened(positives(dataset, flat=True), _LONGEST)
        weights = dataset.histories.weights
        self._mean_weight = float(np.float32(weights[weights > 0].mean()))
        p = self._parameters
        if isinstance(p, TransitionParameters):
            self._neighbours = top_of_rows(transition_weights(dataset, p), p.neighbours)
        else:
            self._neighbours = strongest(*_factors(liked, p), p.neighbours, self.name, progress)
        progress(self.name, 1.0)

    def _inputs(self, histories: Histories) -> sp.csr_matrix:
        """(n, n_items) CSR: what each entry counts, older ones less where there is a decay."""
        weights = inputs(histories, self.n_items, self._mean_weight)
        if self._parameters.decay < 1.0:
            rank = np.arange(weights.nnz) - np.repeat(weights.indptr[:-1], np.diff(weights.indptr))
            weights.data *= decayed(self._parameters.decay, rank).astype(np.float32)
        return weights

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        mass = self._inputs(histories)
        # Rows first: a history touches few of them, and slicing all columns would copy the whole matrix.
        if len(histories) == 1:
            rows, weights = self._neighbours[mass.indices], sp.csr_matrix(mass.data[None, :])
        else:
            rows, weights = self._neighbours, mass
        scores = np.asarray((weights @ rows).todense(), dtype=np.float32)
        return scaled(scores if items is None else np.ascontiguousarray(scores[:, items]), mass)

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        """What the score loses when the entry is taken away and the older ones move up; the last row is the rest."""
        known = np.flatnonzero(history.items < self.n_items)
        entry = inputs(history, self.n_items, self._mean_weight).data.astype(np.float64)
        rows = np.asarray(self._neighbours[history.items[known]][:, items].todense(), dtype=np.float64)
        parts = np.zeros((len(history.items) + 1, len(items)), dtype=np.float32)
        found = losses_by_rank(entry, rows, self._parameters.decay)
        parts[known], parts[-1] = found[:-1], found[-1]
        return parts

    def extended(self, features: sp.csr_matrix) -> NeighbourRecommender:
        wider = type(self)(self.name, self._parameters)
        n_items = self.n_items + features.shape[0]
        indptr = np.append(self._neighbours.indptr, np.full(features.shape[0], self._neighbours.indptr[-1]))
        wider._neighbours = sp.csr_matrix(
            (self._neighbours.data, self._neighbours.indices, indptr), shape=(n_items, n_items)
        )
        wider._mean_weight = self._mean_weight
        return wider

    def parameters(self) -> Mapping[str, object]:
        return as_parameters(self._parameters)

    def arrays(self) -> Mapping[str, Array]:
        return {
            **csr_arrays("neighbours", self._neighbours),
            "mean_weight": np.array([self._mean_weight], dtype=np.float32),
        }


def shortened(liked: sp.csr_matrix, longest: int) -> sp.csr_matrix:
    """Rows of more than `longest` entries keep the first of them: histories are newest first."""
    lengths = np.diff(liked.indptr)
    if not len(lengths) or lengths.max() <= longest:
        return liked
    keep = np.arange(liked.nnz) - np.repeat(liked.indptr[:-1], lengths) < longest
    counts = np.concatenate([[0], np.cumsum(keep)])
    return sp.csr_matrix((liked.data[keep], liked.indices[keep], counts[liked.indptr]), shape=liked.shape)


def _factors(
    liked: sp.csr_matrix, parameters: WalkParameters | CooccurrenceParameters
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Two sparse matrices (n_items, n_users) and (n_users, n_items) whose product holds the item-item weights."""
    lengths = np.maximum(np.diff(liked.indptr), 1).astype(np.float64)
    counts = np.maximum(np.bincount(liked.indices, minlength=liked.shape[1]), 1).astype(np.float64)
    if isinstance(parameters, WalkParameters):
        out, back = counts**-parameters.alpha, lengths**-parameters.alpha
        damp = counts**-parameters.beta
    else:
        out, back = counts ** (parameters.damping - 1.0), lengths ** (-2.0 * parameters.user_power)
        damp = counts**-parameters.damping
    left = sp.diags(out.astype(np.float32)) @ liked.T.tocsr()
    right = sp.diags(back.astype(np.float32)) @ liked @ sp.diags(damp.astype(np.float32))
    return sp.csr_matrix(left, dtype=np.float32), sp.csr_matrix(right, dtype=np.float32)


def strongest(
    left: sp.csr_matrix, right: sp.csr_matrix, k: int, stage: str, progress: ProgressCallback
) -> sp.csr_matrix:
    """The k largest entries of each row of left · right, without the diagonal; rows in blocks to bound memory."""
    n_items = left.shape[0]
    block = max(1, _BLOCK_CELLS // max(n_items, 1))
    parts = []
    for start in range(0, n_items, block):
        product = (left[start : start + block] @ right).tocsr()
        rows = np.repeat(np.arange(product.shape[0]), np.diff(product.indptr))
        product.data[product.indices == rows + start] = 0.0
        product.eliminate_zeros()
        parts.append(top_of_rows(product, k))
        progress(stage, min(0.95, (start + block) / n_items))
    return sp.csr_matrix(sp.vstack(parts), dtype=np.float32) if parts else sp.csr_matrix((0, 0), dtype=np.float32)


def top_of_rows(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k largest entries of each row, columns sorted."""
    kept = []
    for start, stop in zip(matrix.indptr[:-1].tolist(), matrix.indptr[1:].tolist(), strict=True):
        if stop - start <= k:
            kept.append(np.arange(start, stop))
        else:
            kept.append(start + np.argpartition(matrix.data[start:stop], stop - start - k)[-k:])
    lengths = np.minimum(np.diff(matrix.indptr), k)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    chosen = np.concatenate(kept) if kept else np.empty(0, dtype=np.int64)
    top = sp.csr_matrix((matrix.data[chosen], matrix.indices[chosen], indptr), shape=matrix.shape)
    top.sort_indices()
    return top
