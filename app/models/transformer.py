"""A sequential transformer: what somebody liked last, in its order, to what they like next. Needs torch to learn.

After SASRec (https://arxiv.org/abs/1808.09781), trained with cross-entropy over many items. Learnt by torch
(transformer_training.py, the extra `torch`), scored by NumPy (transformer_forward.py): to restore, serve and explain
it needs no torch. ADR 0020 says what it costs and gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from app.domain.dataset import Dataset, Histories
from app.domain.exceptions import InputError, TrainingError
from app.domain.recommender import ProgressCallback, Recommender, Tower
from app.models.base import Array, Floats, as_parameters, parse_parameters, positives, take, take_floats
from app.models.sequence_moments import Steps, singular_vectors
from app.models.transformer_forward import INITIAL, Weights, read

DEVICES = ("auto", "cpu", "cuda")

_RARE_SHARE = 0.1
"""An item without likes is placed like the mean of so many of the least liked: low, and by something learnt."""

WHEN = ("never", "gpu", "always")
"""When selection tries it, where torch is installed: where there is a GPU, or everywhere."""

INSTALL = "uv pip install 'torch>=2.6'"


@dataclass(frozen=True, slots=True)
class TransformerParameters:
    """`length`: how many of the newest likes are read. `hidden`: width of the feed-forward block.

    `batch`: windows of `length` a step. `negatives`: items drawn per batch that stand for all; 0, or as many as there
    are: all of them. `device`: auto (a GPU where there is one), cpu or cuda; only for training.
    """

    factors: int = 64
    hidden: int = 128
    layers: int = 2
    heads: int = 2
    length: int = 50
    epochs: int = 8
    batch: int = 64
    learning_rate: float = 0.002
    dropout: float = 0.2
    negatives: int = 500
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("factors", "hidden", "layers", "heads", "length", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1", name)
        if self.factors % self.heads:
            raise InputError("heads must divide factors", "heads")
        if not 0.0 <= self.dropout < 1.0 or not self.learning_rate > 0.0 or self.negatives < 0:
            raise InputError("dropout lies in [0, 1), learning_rate above 0, negatives at 0 or above", "dropout")
        if self.device not in DEVICES:
            raise InputError(f"device is one of {', '.join(DEVICES)}", "device")


class TransformerRecommender(Recommender, Tower):
    """Likes are read, oldest first; dislikes and items nobody liked in training are passed over."""

    def __init__(self, name: str, parameters: TransformerParameters) -> None:
        self.name = name
        self._parameters = parameters
        self._weights = self._drawn(0, 0)
        self._liked: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._newcomer: Floats = np.zeros(parameters.factors, dtype=np.float32)

    @classmethod
    def build(cls, name: str, parameters: Mapping[str, object]) -> TransformerRecommender:
        """Unfitted, from JSON parameters."""
        return cls(name, parse_parameters(TransformerParameters, parameters))

    @classmethod
    def restore(
        cls, name: str, parameters: Mapping[str, object], arrays: Mapping[str, Array]
    ) -> TransformerRecommender:
        """Fitted, from its arrays."""
        restored = cls.build(name, parameters)
        p = restored._parameters
        restored._weights = Weights.restore(arrays, p.factors, p.hidden, p.layers, p.heads, p.length)
        restored._liked = take(arrays, "liked", (restored.n_items,), np.bool_).astype(np.bool_)
        restored._newcomer = take_floats(arrays, "newcomer", p.factors)
        return restored

    @property
    def n_items(self) -> int:
        return len(self._weights.vectors)

    @property
    def item_vectors(self) -> Floats:
        return self._weights.vectors

    @property
    def weights(self) -> Weights:
        """What `fit` has learnt."""
        return self._weights

    def _drawn(self, n_items: int, seed: int) -> Weights:
        p = self._parameters
        return Weights.drawn(n_items, p.factors, p.hidden, p.layers, p.heads, p.length, seed)

    def fit(self, dataset: Dataset, *, seed: int, progress: ProgressCallback) -> None:
        positives(dataset, flat=True)
        steps = Steps.of(dataset.histories)
        progress(self.name, 0.0)
        if find_spec("torch") is None:
            raise TrainingError(f"the transformer learns with torch, which is not installed: {INSTALL}")
        from app.models.transformer_training import Plan, learn

        p = self._parameters
        plan = Plan(p.epochs, p.batch, p.learning_rate, p.dropout, p.negatives, p.device)
        learnt = learn(self._first(dataset, seed), steps, plan, seed=seed, progress=progress)
        self.adopt(learnt, np.bincount(steps.item, minlength=dataset.n_items))
        progress(self.name, 1.0)

    def _first(self, dataset: Dataset, seed: int) -> Weights:
        """Drawn, but for the item vectors: who likes what with what is known before the first epoch (ADR 0020)."""
        weights = self._drawn(dataset.n_items, seed)
        known = singular_vectors(dataset, self._parameters.factors, seed)
        weights.vectors[:, : known.shape[1]] = known * np.float32(INITIAL * np.sqrt(dataset.n_items))
        return weights

    def adopt(self, weights: Weights, counts: NDArray[np.int64]) -> None:
        """Take weights that `counts` (n_items,) likes have taught; items without any get a newcomer's place."""
        self._liked = counts > 0
        known = np.flatnonzero(self._liked)
        rarest = known[np.argsort(counts[known], kind="stable")[: max(1, int(_RARE_SHARE * len(known)))]]
        self._newcomer = weights.vectors[rarest].mean(axis=0)
        vectors = np.where(self._liked[:, None], weights.vectors, self._newcomer)
        self._weights = replace(weights, vectors=np.ascontiguousarray(vectors))

    def _readable(self, histories: Histories) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(places in `histories.items` of the likes that can be read, (n,) how many of them each history has)."""
        known = np.minimum(histories.items, self.n_items - 1)
        kept = (histories.weights > 0) & (histories.items < self.n_items) & self._liked[known]
        counts = np.concatenate([[0], np.cumsum(kept)])[histories.indptr]
        return np.flatnonzero(kept), np.diff(counts)

    def fold_in(self, histories: Histories) -> Floats:
        places, counts = self._readable(histories)
        lengths = np.minimum(counts, self._parameters.length)
        ends = np.cumsum(counts) - counts + lengths
        back = np.arange(lengths.max(initial=0))
        # Histories are newest first: the oldest that is read stands last among them, and comes first here.
        wanted = np.where(back < lengths[:, None], ends[:, None] - 1 - back, 0)
        rows = histories.items[places][wanted] if len(places) else np.zeros(wanted.shape, dtype=np.int32)
        return read(self._weights, rows, lengths)

    def score(self, histories: Histories, items: NDArray[np.int32] | None = None) -> Floats:
        vectors = self.item_vectors if items is None else self.item_vectors[items]
        return np.asarray(self.fold_in(histories) @ vectors.T, dtype=np.float32)

    def contributions(self, history: Histories, items: NDArray[np.int32]) -> Floats:
        """What the score loses when the entry is taken away and older ones move up; the last row is the rest.

        Read anew without each of the entries that are read at all: at most `length` rows in one batch.
        """
        places, _ = self._readable(history)
        likes = history.items[places]
        told = min(len(places), self._parameters.length)
        # One more than is read: where the history is longer, it moves up when another is taken away.
        shown = likes[: told + 1]
        rows = [shown, *(np.delete(shown, entry) for entry in range(told))]
        scores = self.score(_likes(rows, history.now), items).astype(np.float64)
        parts = np.zeros((len(history.items) + 1, len(items)))
        parts[places[:told]] = scores[0] - scores[1:]
        parts[-1] = scores[0] - parts[:-1].sum(axis=0)
        return parts.astype(np.float32)

    def extended(self, features: sp.csr_matrix) -> TransformerRecommender:
        wider = type(self)(self.name, self._parameters)
        new = np.repeat(self._newcomer[None, :], features.shape[0], axis=0)
        wider._weights = replace(self._weights, vectors=np.vstack([self._weights.vectors, new]))
        wider._liked = np.concatenate([self._liked, np.zeros(features.shape[0], dtype=np.bool_)])
        wider._newcomer = self._newcomer
        return wider

    def parameters(self) -> Mapping[str, object]:
        return as_parameters(self._parameters)

    def arrays(self) -> Mapping[str, Array]:
        return {**self._weights.arrays(), "liked": self._liked, "newcomer": self._newcomer}


def is_worth_trying(when: str) -> bool:
    """Whether selection should, `when` being one of WHEN. Loads torch to look for a GPU."""
    if when == "never" or find_spec("torch") is None:
        return False
    if when == "always":
        return True
    from app.models.transformer_training import has_gpu

    return has_gpu()


def _likes(rows: list[NDArray[np.int32]], now: float) -> Histories:
    """Histories of likes, newest first as given; their times do not matter."""
    lengths = [len(row) for row in rows]
    items = np.concatenate(rows).astype(np.int32)
    ones = np.ones(len(items), dtype=np.float32)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Histories(indptr, items, ones, np.full(len(items), now), now)
