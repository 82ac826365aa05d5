"""Small training sets, worked out by hand or generated from a seed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import scipy.sparse as sp

from app.domain.dataset import Dataset, Features, Histories, IdMap
from app.models.transformer import TransformerParameters, TransformerRecommender
from app.models.transformer_forward import Weights

DAY = 86_400.0
NOW = 1_700_000_000.0

HYBRID: Mapping[str, object] = {
    "members": {
        "ials": {"factors": 4, "epochs": 5},
        "content": {"factors": 4},
        "rp3": {},
        "sequence": {"regularization": 1.0},
        "popularity": {},
    },
    "weights": {
        "ials": [0.0, 0.5, 1.0],
        "content": [0.0, 0.5, 0.2],
        "rp3": [0.0, 0.3, 0.4],
        "sequence": [0.0, 0.2, 0.3],
        "popularity": [1.0, 0.6, 0.1],
    },
    "knots": [0, 2, 6],
}

PARAMETERS: Mapping[str, Mapping[str, object]] = {
    "popularity": {},
    "trending": {},
    "profile": {},
    "lightfm": {"components": 8, "epochs": 20},
    "ease": {"regularization": 2.0},
    "ials": {"factors": 2, "epochs": 8},
    "als": {"factors": 2, "epochs": 8},
    "bpr": {"factors": 2, "epochs": 8},
    "content": {"factors": 8},
    "rp3": {},
    "item-item": {},
    "transitions": {},
    "graph": {"factors": 2},
    "sequence": {"regularization": 30.0},
    "transformer": {
        "factors": 8,
        "hidden": 16,
        "length": 6,
        "epochs": 30,
        "batch": 8,
        "learning_rate": 0.01,
        "dropout": 0.3,
        "device": "cpu",
    },
    "hybrid": HYBRID,
}
"""Parameters that fit data of this size."""

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="the extra `torch` is not installed")
"""What the transformer learns; what it does with weights it has is tested everywhere."""


def silent(stage: str, fraction: float) -> None:
    """Progress that nobody watches."""


def dataset(
    rows: Sequence[Sequence[tuple[int, float]]], n_items: int, *, features: bool = True, profiles: bool = True
) -> Dataset:
    """A training set from (item, weight) lists, newest first; entry r of a user is r days old."""
    items = [item for row in rows for item, _ in row]
    weights = [weight for row in rows for _, weight in row]
    times = [NOW - rank * DAY for row in rows for rank in range(len(row))]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    profile = _parity(len(rows), "group") if profiles else None
    return Dataset(
        IdMap(f"u{position}" for position in range(len(rows))),
        IdMap(f"i{position}" for position in range(n_items)),
        Histories(
            indptr,
            np.array(items, dtype=np.int32),
            np.array(weights, dtype=np.float32),
            np.array(times, dtype=np.float64),
            NOW,
            None if profile is None else profile.matrix,
        ),
        _parity(n_items, "genre") if features else None,
        profile,
    )


def _parity(n: int, space: str) -> Features:
    """Two features: even and odd positions."""
    matrix = sp.csr_matrix((np.ones(n, dtype=np.float32), (np.arange(n), np.arange(n) % 2)), shape=(n, 2))
    return Features(matrix, (f"{space}:even", f"{space}:odd"))


def checkerboard(n_users: int = 24, n_items: int = 16, seed: int = 7) -> Dataset:
    """Even users like even items, odd users odd ones; each misses a few of its colour."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        colour = np.arange(user % 2, n_items, 2)
        liked = rng.permutation(colour)[: len(colour) - 2]
        rows.append([(int(item), 1.0) for item in liked])
    return dataset(rows, n_items)


def random_set(n_users: int = 30, n_items: int = 20, seed: int = 3) -> Dataset:
    """Random likes of different strength and a few dislikes."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n_users):
        items = rng.permutation(n_items)[: rng.integers(2, 10)]
        rows.append([(int(item), float(rng.choice([1.0, 0.5, 2.0, -1.0], p=[0.5, 0.2, 0.2, 0.1]))) for item in items])
    return dataset(rows, n_items)


def history(items: Sequence[int], weights: Sequence[float] | None = None, profile: int | None = None) -> Histories:
    """One history, newest first; `profile` is the column of the user's only feature."""
    given = [1.0] * len(items) if weights is None else weights
    times = [NOW - rank * DAY for rank in range(len(items))]
    row = None
    if profile is not None:
        row = sp.csr_matrix(([np.float32(1.0)], ([0], [profile])), shape=(1, 2))
    return Histories.single(items, given, times, NOW, row)


def without(entries: Histories, position: int) -> Histories:
    """The same history with one entry taken away."""
    kept = np.arange(len(entries.items)) != position
    return Histories.single(
        entries.items[kept], entries.weights[kept], entries.times[kept], entries.now, entries.profiles
    )


def drawn_transformer(
    n_items: int, *, length: int = 6, unliked: Collection[int] = (), seed: int = 1
) -> TransformerRecommender:
    """With weights drawn at random, no zeros among them; item n has n + 1 likes, those of `unliked` none."""
    parameters = TransformerParameters(factors=8, hidden=16, length=length)
    p, rng = parameters, np.random.default_rng(seed)
    first = Weights.drawn(n_items, p.factors, p.hidden, p.layers, p.heads, p.length, seed)
    moved = {
        name: (array + 0.3 * rng.standard_normal(array.shape)).astype(np.float32)
        for name, array in first.arrays().items()
    }
    counts = np.arange(1, n_items + 1)
    counts[list(unliked)] = 0
    recommender = TransformerRecommender("transformer", parameters)
    recommender.adopt(replace(first, **moved), counts)
    return recommender
