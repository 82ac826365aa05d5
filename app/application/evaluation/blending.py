"""Weights of a blend, by coordinate ascent on NDCG over the candidates that its members propose (ADR 0003)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from app.application.evaluation.top_lists import hits_of
from app.domain.dataset import Histories
from app.domain.metrics import ndcg
from app.domain.recommender import Scorer
from app.domain.threads import thread_limit

DEPTH = 20
_PROPOSALS = 60
_BATCH_CELLS = 16_000_000
_STEPS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5)
_MIN_GAIN = 0.002
"""A change must gain this share of the present value: smaller gains on a sample are noise."""

_SURE = 1.645
"""… and so many standard errors of the paired difference: the one-sided 5 % point of the normal distribution."""

_FOLDS = 4
"""A blend must gain on users that its weights were not chosen on: three quarters choose, the fourth judges."""

PLAIN = "popularity"
"""What serves where nothing else is better beyond chance."""

_MAX_ROUNDS = 4

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RankingQuery:
    """Histories to rank for, what must not be listed besides them, and the right answers.

    `allowed`: (n_items,) bool, where only a part of the catalog is ranked.
    """

    histories: Histories
    hidden: sp.csr_matrix
    relevant: sp.csr_matrix
    allowed: NDArray[np.bool_] | None = None


def stacked(first: RankingQuery, second: RankingQuery) -> RankingQuery:
    """Both, one below the other; what may be ranked is that of the first."""
    parts = [one.histories for one in (first, second)]
    profiles = None if parts[0].profiles is None else sp.vstack([part.profiles for part in parts]).tocsr()
    items, weights, times = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("items", "weights", "times")
    )
    indptr = np.concatenate([parts[0].indptr, parts[0].indptr[-1] + parts[1].indptr[1:]])
    histories = Histories(indptr, items, weights, times, parts[0].now, profiles)
    hidden, relevant = (
        sp.vstack([getattr(one, name) for one in (first, second)]).tocsr() for name in ("hidden", "relevant")
    )
    return RankingQuery(histories, hidden, relevant, first.allowed)


@dataclass(frozen=True, slots=True)
class CandidatePool:
    """Candidates of each user and what every member thinks of them.

    `scores`: (n_members, n_users, width) float32, scaled to a standard deviation of one, -inf never; `open`:
    (n_users, width) bool, False for padding; `right`: (n_users, width) bool; `n_relevant`: (n_users,).
    """

    names: tuple[str, ...]
    scores: Floats
    open: NDArray[np.bool_]
    right: NDArray[np.bool_]
    n_relevant: NDArray[np.int64]

    def part(self, users: NDArray[np.bool_]) -> CandidatePool:
        """These users alone, (n_users,) bool."""
        return CandidatePool(
            self.names, self.scores[:, users], self.open[users], self.right[users], self.n_relevant[users]
        )

    def value(self, weights: Mapping[str, float]) -> float:
        """Mean NDCG@20 of the blend with these weights."""
        return float(self.values(weights).mean()) if len(self.open) else 0.0

    def values(self, weights: Mapping[str, float]) -> NDArray[np.float64]:
        """(n_users,) NDCG@20 of the blend with these weights."""
        total: Floats = np.zeros(self.open.shape, dtype=np.float32)
        for position, name in enumerate(self.names):
            weight = weights.get(name, 0.0)
            if weight:
                total += np.float32(weight) * self.scores[position]
        total[~self.open] = np.float32(-np.inf)
        depth = min(DEPTH, total.shape[1])
        top = np.argpartition(-total, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(total, top, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(top, order, axis=1)
        hits = np.take_along_axis(self.right, best, axis=1)
        return ndcg(hits, self.n_relevant, DEPTH)


def candidate_pool(members: Mapping[str, Scorer], scales: Mapping[str, float], question: RankingQuery) -> CandidatePool:
    """The union of every member's best candidates for each user, scored by all of them."""
    n_items = next(iter(members.values())).n_items
    size = max(1, _BATCH_CELLS // max(n_items * len(members), 1))
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(thread_limit()) as threads:
        batches = list(question.histories.batches(size))
        parts = list(threads.map(lambda one: _candidates(members, scales, question, *one), batches))
    width = max((scores.shape[2] for _, scores in parts), default=1)
    positions = np.concatenate([_widened(found, width, -1) for found, _ in parts])
    scores = np.concatenate([_widened(found, width, 0.0) for _, found in parts], axis=1)
    right = hits_of(positions.astype(np.int32), question.relevant)
    n_relevant = np.diff(question.relevant.indptr).astype(np.int64)
    return CandidatePool(tuple(members), scores.astype(np.float32), positions >= 0, right, n_relevant)


def _candidates(
    members: Mapping[str, Scorer],
    scales: Mapping[str, float],
    question: RankingQuery,
    start: int,
    batch: Histories,
) -> tuple[NDArray[np.int64], Floats]:
    """(candidates (n, width), -1 padded; scores (n_members, n, width)) of one batch of users."""
    hidden = question.hidden[start : start + len(batch)].nonzero()
    rows = np.repeat(np.arange(len(batch)), batch.lengths)
    scores = [member.score(batch) for member in members.values()]
    proposals = []
    for one in scores:
        open_ones = one.copy()
        open_ones[hidden] = -np.inf
        open_ones[rows, batch.items] = -np.inf
        if question.allowed is not None:
            open_ones[:, ~question.allowed] = -np.inf
        depth = min(_PROPOSALS, one.shape[1])
        best = np.argpartition(-open_ones, depth - 1, axis=1)[:, :depth]
        best[~np.isfinite(np.take_along_axis(open_ones, best, axis=1))] = -1
        proposals.append(best)
    union = [np.unique(row[row >= 0]) for row in np.concatenate(proposals, axis=1)]
    width = max((len(row) for row in union), default=0)
    candidates = np.full((len(union), max(width, 1)), -1, dtype=np.int64)
    for row, items in enumerate(union):
        candidates[row, : len(items)] = items
    asked = np.maximum(candidates, 0)
    scaled = [
        np.take_along_axis(one, asked, axis=1) / np.float32(scales[name])
        for name, one in zip(members, scores, strict=True)
    ]
    return candidates, np.stack(scaled)


def _widened(array: NDArray[np.generic], width: int, filler: float) -> NDArray[np.generic]:
    missing = width - array.shape[-1]
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)], constant_values=filler)


def coordinate_ascent(
    candidate_pool: CandidatePool, start: Mapping[str, float] | None = None
) -> tuple[dict[str, float], float]:
    """(weights with their largest 1, NDCG@20 they reach). From `start`, or from the best single member."""
    speaking = _speaking(candidate_pool)
    weights = _seed(candidate_pool, start, speaking)
    best = candidate_pool.value(weights)
    for _ in range(_MAX_ROUNDS):
        before = best
        for name in speaking:
            weights, best = _along(candidate_pool, weights, best, name)
        if best <= before:
            break
    largest = max((abs(weight) for weight in weights.values()), default=0.0)
    scaled = {name: round(weight / largest, 4) if largest > 0 else 0.0 for name, weight in weights.items()}
    return scaled, best


def _speaking(candidate_pool: CandidatePool) -> tuple[str, ...]:
    """Members that do not score all candidates alike: without a history, these are the priors."""
    flat = candidate_pool.scores[:, candidate_pool.open]
    return tuple(name for name, row in zip(candidate_pool.names, flat, strict=True) if len(row) and np.ptp(row) > 0)


def _seed(
    candidate_pool: CandidatePool, start: Mapping[str, float] | None, speaking: Sequence[str]
) -> dict[str, float]:
    """Where to begin: `start`, else popularity, unless a single member is better beyond chance."""
    singles: list[dict[str, float]] = [
        {name: float(name == chosen) for name in candidate_pool.names} for chosen in speaking
    ]
    best = max(singles, key=candidate_pool.value, default=dict.fromkeys(candidate_pool.names, 0.0))
    base = {name: float(name == PLAIN) for name in candidate_pool.names} if PLAIN in speaking else best
    if start is not None and any(start.get(name) for name in speaking):
        begun = {name: float(start.get(name, 0.0)) * (name in speaking) for name in candidate_pool.names}
        base = begun if is_gain(candidate_pool.values(begun), candidate_pool.values(base)) else base
    return best if is_gain(candidate_pool.values(best), candidate_pool.values(base)) else base


def proven(pool: CandidatePool, weights: Mapping[str, float]) -> dict[str, float]:
    """These weights if a blend is worth it: else the best single member's, and popularity's unless that is beaten.

    Every step of the ascent has gained more than chance would show, but there were many. So weights are chosen again
    without a quarter of the users, and must gain there; and by a standard error where the simpler is popularity.
    """
    single = _seed(pool, None, _speaking(pool))
    if sum(bool(weight) for weight in weights.values()) <= 1 or len(pool.open) < _FOLDS:
        return dict(weights)
    number = np.arange(len(pool.open)) % _FOLDS
    gains = np.zeros(len(pool.open))
    for fold in range(_FOLDS):
        chosen, left = coordinate_ascent(pool.part(number != fold))[0], pool.part(number == fold)
        gains[number == fold] = left.values(chosen) - left.values(single)
    noise = float(gains.std()) / np.sqrt(len(gains))
    return dict(weights) if gains.mean() > (noise if single.get(PLAIN) else 0.0) else single


def _along(
    candidate_pool: CandidatePool, weights: dict[str, float], best: float, name: str
) -> tuple[dict[str, float], float]:
    """The best weight of one member, the others fixed."""
    others = max((weight for other, weight in weights.items() if other != name), default=0.0)
    if others <= 0:
        return weights, best
    tried: Sequence[float] = sorted({*(others * step for step in _STEPS), weights[name] * 0.8, weights[name] * 1.25})
    chosen, present = weights, candidate_pool.values(weights)
    for weight in tried:
        trial = {**weights, name: weight}
        values = candidate_pool.values(trial)
        value = float(values.mean())
        if value > best and (chosen is not weights or is_gain(values, present)):
            chosen, best = trial, value
    return chosen, best


def is_gain(values: NDArray[np.float64], present: NDArray[np.float64]) -> bool:
    """Whether a change of weight is worth it: large enough, and more than these few users would show by chance."""
    gained = values - present
    noise = float(gained.std()) / np.sqrt(len(gained))
    return bool(gained.mean() > max(_MIN_GAIN * float(present.mean()), _SURE * noise))
