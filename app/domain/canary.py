"""A candidate that takes a growing share of users before it becomes champion: its state, and what comes next. Pure.

Who is in is a hash of the candidate's id and the user's: a share that grows keeps everybody who was in, and another
candidate takes other users first.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Protocol

from app.domain.entities import OutboxMessage
from app.domain.exceptions import InputError
from app.domain.experiment_statistics import MIN_USERS, Comparison
from app.domain.experiments import BUCKETS, Metric, bucket_of

STEPS = (0.05, 0.25, 1.0)
HOURS = 24.0
MAX_STEPS = 10
MAX_HOURS = 24.0 * 14
PATIENCE = 7
"""A step that has seen too few users after so many times its length ends the canary."""

ALPHA = 0.05
"""The chance that a candidate which is no worse is ever taken back because of what the request log says, at most."""

WORSE_IF_HIGHER: Mapping[Metric, bool] = {
    Metric.HIT_RATE: False,
    Metric.EMPTY_SHARE: True,
    Metric.FALLBACK_SHARE: True,
}
"""What a candidate is judged by. Lists that fail are not in the log: each replica counts them itself (`guardrail`)."""


class CanaryStatus(StrEnum):
    """running → one of the others, which are final."""

    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Canary:
    """One candidate on its way. `steps`: shares of all users, rising, the last one 1: the promotion.

    `step`: position of the present share. `hours`: length of a step. `revision` rises with each change.
    """

    model_id: str
    model_type: str
    champion_id: str
    steps: tuple[float, ...]
    hours: float
    started_at: datetime
    step_started_at: datetime
    step: int = 0
    status: CanaryStatus = CanaryStatus.RUNNING
    reason: str | None = None
    figures: Mapping[str, object] = field(default_factory=dict)
    revision: int = 1

    @property
    def share(self) -> float:
        """Of all users, who get the candidate's lists."""
        return self.steps[self.step] if self.status is CanaryStatus.RUNNING else 0.0


class CanaryStore(Protocol):
    """One canary a model, one running canary a model type."""

    @abstractmethod
    async def start(self, canary: Canary, messages: Sequence[OutboxMessage] = ()) -> Canary:
        """Store it, in place of an ended one of the same model; the outbox messages in the same transaction.

        Raises ConflictError if one of its type is running, or if the champion is another one than it names.
        """

    @abstractmethod
    async def get(self, model_id: str) -> Canary | None:
        """The newest canary of this model, or None."""

    @abstractmethod
    async def running(self) -> Sequence[Canary]:
        """Cheap: replicas poll it."""

    @abstractmethod
    async def replace(self, canary: Canary, messages: Sequence[OutboxMessage] = ()) -> None:
        """Compare-and-swap: store it where the stored revision is one lower. Raises ConflictError otherwise."""


def checked_steps(steps: Sequence[float]) -> tuple[float, ...]:
    """The shares, if they can be gone through. Raises InputError that names the field."""
    if not 1 <= len(steps) <= MAX_STEPS:
        raise InputError(f"there must be 1 to {MAX_STEPS} steps", "/steps")
    if not all(1 / BUCKETS <= share <= 1 for share in steps):
        raise InputError("each must be from 0.01 % to 100 % of the users", "/steps")
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise InputError("each must be larger than the one before", "/steps")
    if steps[0] == 1:
        raise InputError("the first must leave users to compare with", "/steps")
    return (*steps,) if steps[-1] == 1 else (*steps, 1.0)


def takes(canary: Canary, user_id: str) -> bool:
    """Whether this user gets the candidate's lists."""
    return bucket_of(f"canary:{canary.model_id}", user_id) < canary.share * BUCKETS


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the request log says of one step: users of candidate and champion, and candidate − champion by metric."""

    users: tuple[int, int]
    is_split_broken: bool
    comparisons: Mapping[Metric, Comparison]


class Move(StrEnum):
    """What to do with a canary now."""

    WAIT = "wait"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True)
class Decision:
    """A move, and why, in words."""

    move: Move
    reason: str


def decide(canary: Canary, evidence: Evidence, now: datetime) -> Decision:
    """Back as soon as a metric is surely worse; on when the step is over, enough was seen and none is; else wait."""
    for metric, is_worse_if_higher in WORSE_IF_HIGHER.items():
        found = evidence.comparisons.get(metric)
        if found is not None and _surely_worse(found, is_worse_if_higher):
            told = f"{metric.value} {found.treatment:.4f}, the champion's {found.control:.4f}: surely worse"
            return Decision(Move.ROLL_BACK, told)
    age, length = now - canary.step_started_at, timedelta(hours=canary.hours)
    if age < length:
        return Decision(Move.WAIT, "the step is not over")
    problem = _not_enough(evidence)
    if problem is not None:
        return Decision(Move.ROLL_BACK if age >= PATIENCE * length else Move.WAIT, problem)
    is_last = canary.steps[canary.step + 1] == 1
    return Decision(Move.PROMOTE if is_last else Move.ADVANCE, "no worse than the champion")


def _surely_worse(found: Comparison, is_worse_if_higher: bool) -> bool:
    return found.always.low > 0 if is_worse_if_higher else found.always.high < 0


def _not_enough(evidence: Evidence) -> str | None:
    if evidence.is_split_broken:
        return "users are not split as planned: the candidate is not served everywhere, or its lists fail"
    if min(evidence.users) < MIN_USERS:
        return f"{min(evidence.users)} users are too few to say anything: {MIN_USERS} are needed on either side"
    return None


def alpha_of(canary: Canary) -> float:
    """The level of each comparison: ALPHA shared by all metrics of all steps (Bonferroni)."""
    return ALPHA / (len(WORSE_IF_HIGHER) * max(1, len(canary.steps) - 1))


def advanced(canary: Canary, now: datetime, figures: Mapping[str, object]) -> Canary:
    """The canary at its next share."""
    return replace(canary, step=canary.step + 1, step_started_at=now, figures=figures, revision=canary.revision + 1)


def ended(canary: Canary, status: CanaryStatus, reason: str, figures: Mapping[str, object]) -> Canary:
    """The canary at its end."""
    return replace(canary, status=status, reason=reason, figures=figures, revision=canary.revision + 1)
