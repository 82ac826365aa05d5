"""The gate: may a candidate replace the champion? Pure: numbers in, verdict with reasons out.

It compares per-user values of the same hold-out users. Where candidate and champion were judged on different users
(`GateInput.users` differ) it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.metrics import probability_better


class GateInput(Protocol):
    """What the gate reads of an evaluation."""

    @property
    def users(self) -> tuple[str, ...]:
        """The users it was judged on."""

    @property
    def per_user(self) -> Mapping[str, NDArray[np.float32]]:
        """Metric name → (n_users,) values."""

    @property
    def slices(self) -> Mapping[str, NDArray[np.bool_]]:
        """Slice name → (n_users,) membership."""

    @property
    def coverage(self) -> float:
        """Share of the rankable catalog that appears in any list."""

    @property
    def attainable_coverage(self) -> float:
        """The largest coverage so few lists can have."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What the canaries found: scores that are not finite, do not vary, or are the same list for everyone."""


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """Thresholds. `margin`: required relative gain over the champion; `slice_margin`: loss a slice may show."""

    metric: str = "ndcg@10"
    margin: float = 0.01
    slice_margin: float = 0.10
    min_slice_users: int = 50
    coverage_floor: float = 0.01
    coverage_share: float = 0.5
    confidence: float = 0.5
    popularity_confidence: float = 0.95
    """Surer than against a champion: of models fitted to shuffled labels, half beat popularity by mere luck."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`promote` and, in words for people, why or why not. `details` are the numbers behind them."""

    promote: bool
    reasons: tuple[str, ...]
    details: Mapping[str, float] = field(default_factory=dict)


def decide_promotion(
    candidate: GateInput, champion: GateInput | None, popularity: GateInput, policy: GatePolicy
) -> Verdict:
    """Promote a candidate that is sound, beats popularity, and is the champion's equal plus the margin."""
    refusals = list(candidate.problems)
    details: dict[str, float] = {}
    prior = replace(policy, confidence=policy.popularity_confidence)
    refusals += _not_better(candidate, popularity, "popularity", 0.0, prior, details)
    refusals += _thin(candidate, champion, policy)
    if champion is not None:
        refusals += _not_better(candidate, champion, "the champion", policy.margin, policy, details)
        refusals += _worse_slices(candidate, champion, policy)
    if refusals:
        return Verdict(False, tuple(refusals), details)
    return Verdict(True, (_praise(candidate, champion, popularity, policy),), details)


def _mean(judged: GateInput, metric: str) -> float:
    values = judged.per_user[metric]
    return float(values.mean(dtype=np.float64)) if len(values) else 0.0


def _not_better(
    candidate: GateInput, other: GateInput, name: str, margin: float, policy: GatePolicy, details: dict[str, float]
) -> list[str]:
    """Why the candidate does not beat `other` by the margin; empty if it does."""
    if candidate.users != other.users:
        return [f"candidate and {name} were judged on different users"]
    mine, theirs = _mean(candidate, policy.metric), _mean(other, policy.metric)
    # A tie with 0 is no win: a model that finds nothing must not pass because popularity finds nothing either.
    factor = 1.0 + margin
    sure = probability_better(
        candidate.per_user[policy.metric], other.per_user[policy.metric], factor=factor, seed=policy.seed
    )
    details[f"{name}: {policy.metric}"] = theirs
    details[f"{name}: probability"] = sure
    enough = mine > theirs if margin == 0.0 else mine >= theirs * factor
    if mine > 0.0 and enough and sure >= policy.confidence:
        return []
    compared = f"{policy.metric} {mine:.4f} does not beat {name} ({theirs:.4f}) by the margin of {margin:.1%}"
    return [f"{compared} (probability {sure:.2f}, {policy.confidence:.2f} needed)"]


def _thin(candidate: GateInput, champion: GateInput | None, policy: GatePolicy) -> list[str]:
    """Coverage below the floor, or far below the champion's."""
    floor = policy.coverage_floor * candidate.attainable_coverage
    if champion is not None:
        floor = max(floor, policy.coverage_share * champion.coverage)
    if candidate.coverage >= floor:
        return []
    return [f"its lists cover {candidate.coverage:.2%} of the catalog; at least {floor:.2%} is required"]


def _worse_slices(candidate: GateInput, champion: GateInput, policy: GatePolicy) -> list[str]:
    """Slices with enough users in which the candidate loses more than the slice margin."""
    if candidate.users != champion.users:
        return []
    refusals = []
    for name, members in candidate.slices.items():
        if members.sum() < policy.min_slice_users:
            continue
        mine = float(candidate.per_user[policy.metric][members].mean())
        theirs = float(champion.per_user[policy.metric][members].mean())
        if mine < theirs * (1.0 - policy.slice_margin):
            refusals.append(f"{policy.metric} of {name} falls from {theirs:.4f} to {mine:.4f}")
    return refusals


def _praise(candidate: GateInput, champion: GateInput | None, popularity: GateInput, policy: GatePolicy) -> str:
    mine, prior = _mean(candidate, policy.metric), _mean(popularity, policy.metric)
    text = f"{policy.metric} {mine:.4f} beats popularity ({prior:.4f})"
    if champion is None:
        return f"{text}; it is the first model"
    return f"{text} and the champion ({_mean(champion, policy.metric):.4f}) by the margin of {policy.margin:.1%}"
