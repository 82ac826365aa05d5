"""Experiments: what they compare, who is in them, which changes they allow. Pure values and functions.

A *layer* has 10,000 buckets; a user's bucket is a hash of the layer's name and the user's id. An experiment owns some
buckets of its layer, no two experiments the same. Which arm a user is in is a second hash, by the experiment's salt. So
nothing is stored per user: an assignment is the same in every process, independent between layers, and a share that
grows keeps everybody who was in, in the same arm (Tang et al. 2010, "Overlapping Experiment Infrastructure").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

from app.domain.exceptions import ConflictError, InputError
from app.domain.rules import Rules

BUCKETS = 10_000
MAX_ARMS = 20
MAX_NAME_CHARACTERS = 100
CONTROL = "control"
MAX_PINNED = 3
"""Models that arms of all running experiments pin: each server holds them beside the champion, each with a catalog."""

Ranges = tuple[tuple[int, int], ...]
"""Buckets as half-open ranges [start, end), in order."""


class ExperimentStatus(StrEnum):
    """draft → running ⇄ paused → stopped."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


ACTIVE = (ExperimentStatus.RUNNING, ExperimentStatus.PAUSED)
"""Those that own users."""

ALLOWED_CHANGES: Mapping[ExperimentStatus, frozenset[ExperimentStatus]] = {
    ExperimentStatus.DRAFT: frozenset({ExperimentStatus.RUNNING, ExperimentStatus.STOPPED}),
    ExperimentStatus.RUNNING: frozenset({ExperimentStatus.PAUSED, ExperimentStatus.STOPPED}),
    ExperimentStatus.PAUSED: frozenset({ExperimentStatus.RUNNING, ExperimentStatus.STOPPED}),
    ExperimentStatus.STOPPED: frozenset(),
}


class Metric(StrEnum):
    """What arms are compared by. Each is a ratio of two sums over users: see `exposures.SUMS`."""

    HIT_RATE = "hit_rate"
    USER_HIT_RATE = "user_hit_rate"
    WATCH_RATIO = "watch_ratio"
    WATCH_THROUGH = "watch_through"
    LIKES_PER_LIST = "likes_per_list"
    RATINGS_PER_LIST = "ratings_per_list"
    PURCHASES_PER_LIST = "purchases_per_list"
    NOVELTY = "novelty"
    LATENCY_MS = "latency_ms"
    FALLBACK_SHARE = "fallback_share"
    EMPTY_SHARE = "empty_share"


@dataclass(frozen=True, slots=True)
class Arm:
    """One variant. `share`: of the experiment's users. What is None is as for everybody else.

    `list_type`: hybrid, collaborative, content, sequential or popular; `diversity`: 0–1; `model_id`: the version that
    answers in place of the champion; `rules`: on top of the service's.
    """

    name: str
    share: float
    list_type: str | None = None
    diversity: float | None = None
    model_id: str | None = None
    rules: Rules = ()


@dataclass(frozen=True, slots=True)
class Experiment:
    """`share`: of all users. `buckets`: its own in its layer. `revision` rises with each change (compare-and-swap)."""

    experiment_id: str
    name: str
    hypothesis: str
    layer: str
    salt: str
    share: float
    arms: tuple[Arm, ...]
    primary_metric: Metric
    guardrail_metrics: tuple[Metric, ...]
    status: ExperimentStatus
    buckets: Ranges
    created_at: datetime
    started_at: datetime | None = None
    planned_end: datetime | None = None
    stopped_at: datetime | None = None
    revision: int = 1


@dataclass(frozen=True, slots=True)
class Assignment:
    """One user's place in one experiment."""

    experiment_id: str
    arm: Arm


def bucket_of(salt: str, user_id: str) -> int:
    """0–9,999, uniform; the salt is the hash's key, so that salts and ids can never run into one another."""
    digest = blake2b(user_id.encode("utf-8", "surrogatepass"), key=_key(salt), digest_size=8).digest()
    return int.from_bytes(digest, "big") % BUCKETS


@lru_cache(maxsize=1_024)
def _key(salt: str) -> bytes:
    return blake2b(salt.encode(), digest_size=32).digest()


def assigned(experiment: Experiment, user_id: str) -> Assignment | None:
    """The user's arm, or None outside the experiment. Only running experiments assign anybody."""
    if experiment.status is not ExperimentStatus.RUNNING:
        return None
    if not _holds(experiment.buckets, bucket_of(experiment.layer, user_id)):
        return None
    place, reached = bucket_of(experiment.salt, user_id) / BUCKETS, 0.0
    for arm in experiment.arms:
        reached += arm.share
        if place < reached:
            return Assignment(experiment.experiment_id, arm)
    return Assignment(experiment.experiment_id, experiment.arms[-1])  # shares add up to 1 but for rounding


def _holds(buckets: Ranges, bucket: int) -> bool:
    return any(start <= bucket < end for start, end in buckets)


def overlap(one: Ranges, other: Ranges) -> bool:
    """True if any bucket is in both."""
    return any(start < end_ and start_ < end for start, end in one for start_, end_ in other)


def allocated(owned: Ranges, taken: Sequence[Ranges], share: float) -> Ranges:
    """Buckets for `share` of all users: what is owned stays, the rest comes from buckets nobody in the layer has.

    Raises ConflictError if too few are free, InputError if the share would shrink.
    """
    wanted = round(share * BUCKETS) - sum(end - start for start, end in owned)
    if wanted < 0:
        raise InputError("the share of a running experiment may only grow", "/share")
    ranges = list(owned)
    for start, end in _free([*taken, owned]):
        if not wanted:
            break
        size = min(end - start, wanted)
        ranges.append((start, start + size))
        wanted -= size
    if wanted:
        raise ConflictError("the other experiments of this layer leave too few users")
    return _merged(ranges)


def _free(taken: Sequence[Ranges]) -> Ranges:
    used = _merged([one for ranges in taken for one in ranges])
    edges = [(0, 0), *used, (BUCKETS, BUCKETS)]
    return tuple((end, start) for (_, end), (start, _) in pairwise(edges) if start > end)


def _merged(ranges: Sequence[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start == merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return tuple(merged)


def checked(experiment: Experiment) -> Experiment:
    """The experiment, if it can be run at all. Raises InputError that names the field."""
    for name, text in (("/name", experiment.name), ("/layer", experiment.layer)):
        if not text.strip() or len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
            raise InputError(f"must have 1 to {MAX_NAME_CHARACTERS} printable characters", name)
    if not 0 < experiment.share <= 1:
        raise InputError("must be above 0 and at most 1", "/share")
    _check_arms(experiment.arms)
    if experiment.primary_metric in experiment.guardrail_metrics:
        raise InputError("the primary metric cannot be a guardrail too", "/guardrail_metrics")
    if experiment.planned_end is not None and experiment.planned_end <= experiment.created_at:
        raise InputError("must lie in the future", "/planned_end")
    return experiment


def pinned_by(experiments: Iterable[Experiment]) -> frozenset[str]:
    """Ids of the models that arms of these experiments pin."""
    return frozenset(arm.model_id for one in experiments for arm in one.arms if arm.model_id is not None)


def _check_arms(arms: Sequence[Arm]) -> None:
    if not 2 <= len(arms) <= MAX_ARMS:
        raise InputError(f"there must be 2 to {MAX_ARMS} arms", "/arms")
    if arms[0].name != CONTROL:
        raise InputError(f"the first arm must be named {CONTROL}", "/arms/0/name")
    for place, arm in enumerate(arms):
        if not arm.name or len(arm.name) > MAX_NAME_CHARACTERS or not arm.name.isprintable():
            raise InputError(f"must have 1 to {MAX_NAME_CHARACTERS} printable characters", f"/arms/{place}/name")
        if not 0 < arm.share < 1:
            raise InputError("must lie between 0 and 1", f"/arms/{place}/share")
    if len({arm.name for arm in arms}) < len(arms):
        raise InputError("two arms have the same name", "/arms")
    if abs(sum(arm.share for arm in arms) - 1) > 1e-9:
        raise InputError("the shares of the arms must add up to 1", "/arms")


def moved(experiment: Experiment, status: ExperimentStatus, now: datetime) -> Experiment:
    """The experiment in another state. Raises ConflictError for a step that is not allowed."""
    if status not in ALLOWED_CHANGES[experiment.status]:
        raise ConflictError(f"an experiment that is {experiment.status} cannot become {status}")
    started = now if status is ExperimentStatus.RUNNING and experiment.started_at is None else experiment.started_at
    is_over = status is ExperimentStatus.STOPPED
    return replace(
        experiment,
        status=status,
        started_at=started,
        stopped_at=now if is_over else None,
        buckets=() if is_over else experiment.buckets,
        revision=experiment.revision + 1,
    )
