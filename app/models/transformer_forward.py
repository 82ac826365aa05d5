"""The transformer's weights and its forward pass, in NumPy alone: what serving needs (transformer.py says the rest).

Causal self-attention as in SASRec (https://arxiv.org/abs/1808.09781), with the norms before each block and, instead of
positions, a learned bias per distance (https://arxiv.org/abs/1910.10683, §2.1): an event counts by how many came after
it, wherever in a training window it stood. Per layer, with N the layer norm:

    x ← x + softmax(q kᵀ / √width + bias[distance]) v · out,      q, k, v = N(x) · inward
    x ← x + relu(N(x) · widen + widen_bias) · narrow + narrow_bias
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from app.models.base import Array, Floats, take_floats

NORM_EPSILON = 1e-5
"""Keeps a row of equal numbers from dividing by zero; torch's own default."""

_BATCH_CELLS = 4_000_000
"""Numbers of one layer held at once: 16 MB of float32."""

INITIAL = 0.05
"""Spread of new item vectors: scores begin near each other, so that no item has to be unlearnt first."""


@dataclass(frozen=True, slots=True)
class Weights:
    """All float32 and C-contiguous. d: `factors`, h: `hidden`.

    `vectors` (n_items, d) are what goes in and what it is compared with. `inward` (layers, d, 3d) makes queries, keys
    and values; `outward` (layers, d, d); `distances` (layers, heads, length); `widen` (layers, d, h), `widen_bias`
    (layers, h), `narrow` (layers, h, d), `narrow_bias` (layers, d); `norms` (2·layers + 1, 2, d): gain and shift, the
    last one of the final state.
    """

    vectors: Floats
    inward: Floats
    outward: Floats
    distances: Floats
    widen: Floats
    widen_bias: Floats
    narrow: Floats
    narrow_bias: Floats
    norms: Floats

    @classmethod
    def drawn(cls, n_items: int, factors: int, hidden: int, layers: int, heads: int, length: int, seed: int) -> Weights:
        """What training begins with."""
        rng = np.random.default_rng(seed)

        def normal(spread: float, *shape: int) -> Floats:
            return (spread * rng.standard_normal(shape)).astype(np.float32)

        def zeros(*shape: int) -> Floats:
            return np.zeros(shape, dtype=np.float32)

        # What each block adds is small at first, the smaller the more blocks there are: GPT-2's rule.
        added = (2.0 * layers) ** -0.5
        norms = zeros(2 * layers + 1, 2, factors)
        norms[:, 0] = 1.0
        return cls(
            vectors=normal(INITIAL, n_items, factors),
            inward=normal(factors**-0.5, layers, factors, 3 * factors),
            outward=normal(added * factors**-0.5, layers, factors, factors),
            distances=zeros(layers, heads, length),
            widen=normal(factors**-0.5, layers, factors, hidden),
            widen_bias=zeros(layers, hidden),
            narrow=normal(added * hidden**-0.5, layers, hidden, factors),
            narrow_bias=zeros(layers, factors),
            norms=norms,
        )

    @classmethod
    def restore(
        cls, arrays: Mapping[str, Array], factors: int, hidden: int, layers: int, heads: int, length: int
    ) -> Weights:
        """From what `arrays` gave. Raises ArtifactDamagedError."""
        return cls(
            vectors=take_floats(arrays, "vectors", None, factors),
            inward=take_floats(arrays, "inward", layers, factors, 3 * factors),
            outward=take_floats(arrays, "outward", layers, factors, factors),
            distances=take_floats(arrays, "distances", layers, heads, length),
            widen=take_floats(arrays, "widen", layers, factors, hidden),
            widen_bias=take_floats(arrays, "widen_bias", layers, hidden),
            narrow=take_floats(arrays, "narrow", layers, hidden, factors),
            narrow_bias=take_floats(arrays, "narrow_bias", layers, factors),
            norms=take_floats(arrays, "norms", 2 * layers + 1, 2, factors),
        )

    def arrays(self) -> dict[str, Floats]:
        """By name, for an artifact or for training."""
        return {spec.name: getattr(self, spec.name) for spec in fields(self)}


def read(weights: Weights, items: NDArray[np.int32], lengths: NDArray[np.int64]) -> Floats:
    """(n, factors): what comes after each row of `items` (n, width), **oldest first**, padded behind its length.

    Empty rows give zeros. Rows longer than the weights' `length` are the caller's mistake.
    """
    found = np.zeros((len(items), weights.vectors.shape[1]), dtype=np.float32)
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    start = 0
    while start < len(order):
        width = int(lengths[order[start]])
        rows = order[start : start + _rows_at_once(weights, width)]
        found[rows] = _last_states(weights, items[rows, :width], lengths[rows])
        start += len(rows)
    return found


def _rows_at_once(weights: Weights, width: int) -> int:
    heads, hidden, factors = weights.distances.shape[1], weights.widen.shape[2], weights.vectors.shape[1]
    return max(1, _BATCH_CELLS // int(width * (heads * width + hidden + 4 * factors)))


def _last_states(weights: Weights, items: NDArray[np.int32], lengths: NDArray[np.int64]) -> Floats:
    """Causal: padding comes later than everything that is looked at, and needs no mask."""
    n, width = items.shape
    n_layers, factors = weights.outward.shape[:2]
    state = weights.vectors[items] * np.float32(np.sqrt(factors))
    rows, last = np.arange(n)[:, None], (lengths - 1)[:, None]
    asking = np.arange(width)[None, :]
    for layer in range(n_layers):
        normed = _norm(state, weights.norms[2 * layer])
        read_from = normed @ weights.inward[layer][:, factors:]
        if layer == n_layers - 1:
            # Of the last layer only what comes after the last event is of interest.
            asking, state, normed = last, state[rows, last], normed[rows, last]
        queries = normed @ weights.inward[layer][:, :factors]
        state = state + _attend(queries, read_from, weights.distances[layer], asking) @ weights.outward[layer]
        state = state + _feed(weights, layer, _norm(state, weights.norms[2 * layer + 1]))
    return _norm(state[:, 0], weights.norms[-1])


def _feed(weights: Weights, layer: int, normed: Floats) -> Floats:
    inner = np.maximum(normed @ weights.widen[layer] + weights.widen_bias[layer], np.float32(0.0))
    return np.asarray(inner @ weights.narrow[layer] + weights.narrow_bias[layer], dtype=np.float32)


def _attend(queries: Floats, read_from: Floats, distances: Floats, asking: NDArray[np.int64]) -> Floats:
    """(n, n_queries, factors). `read_from` (n, width, 2·factors): keys, values; `asking` (n or 1, n_queries)."""
    n, width, factors = len(read_from), read_from.shape[1], queries.shape[2]
    heads = len(distances)
    split = (n, -1, heads, factors // heads)
    q = queries.reshape(split).transpose(0, 2, 1, 3)
    k = read_from[:, :, :factors].reshape(split).transpose(0, 2, 3, 1)
    v = read_from[:, :, factors:].reshape(split).transpose(0, 2, 1, 3)
    back = asking[:, :, None] - np.arange(width)
    bias = np.where(back >= 0, distances[:, np.maximum(back, 0)], np.float32(-np.inf)).transpose(1, 0, 2, 3)
    scores = q @ k * np.float32((factors // heads) ** -0.5) + bias
    scores = np.exp(scores - scores.max(axis=3, keepdims=True))
    mixed = (scores / scores.sum(axis=3, keepdims=True)) @ v
    return np.asarray(mixed.transpose(0, 2, 1, 3).reshape(n, -1, factors), dtype=np.float32)


def _norm(rows: Floats, gain_and_shift: Floats) -> Floats:
    centred = rows - rows.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + np.float32(NORM_EPSILON))
    return np.asarray(centred / spread * gain_and_shift[0] + gain_and_shift[1], dtype=np.float32)
