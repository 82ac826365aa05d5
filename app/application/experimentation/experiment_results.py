"""Which arm is better: lists of the request log joined with what their users did next.

An interaction is an outcome of the newest list that showed its item to this user within the attribution window before
it; each interaction counts for one list at most.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from app.domain.entities import KINDS, EventColumns, Kind
from app.domain.experiment_statistics import (
    SRM_ALPHA,
    Comparison,
    UserSums,
    compare,
    holm,
    sample_ratio_p_value,
)
from app.domain.experiments import Experiment, Metric
from app.domain.request_log import RequestEntry, RequestLogStore, user_pseudonym
from app.domain.stores import InteractionStore

BEFORE = timedelta(days=14)
"""Activity before the experiment that explains part of the activity in it (CUPED)."""

LIKED_RATING = 4.0
_POSITIVE = frozenset({Kind.WATCH, Kind.VIEW, Kind.CLICK, Kind.LIKE, Kind.PURCHASE, Kind.COMMENT, Kind.SHARE})

User = bytes


@dataclass(slots=True)
class _Tally:
    """What one user saw and did in one arm."""

    lists: int = 0
    empty: int = 0
    fallbacks: int = 0
    hits: set[int] = field(default_factory=set)
    watches: int = 0
    watched: float = 0.0
    likes: int = 0
    purchases: int = 0


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm. `metrics`: the ratio over all of its users; None where nothing was counted."""

    name: str
    users: int
    lists: int
    metrics: Mapping[Metric, float | None]


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One arm against control by one metric. `corrected_p_value`: always-valid, corrected for the number of arms."""

    arm: str
    metric: Metric
    comparison: Comparison | None
    corrected_p_value: float | None


@dataclass(frozen=True, slots=True)
class ExperimentResults:
    """`is_split_broken`: users were not assigned as planned, so comparisons cannot be trusted and are left out."""

    experiment: Experiment
    as_of: datetime
    arms: tuple[ArmResult, ...]
    sample_ratio_p_value: float
    is_split_broken: bool
    comparisons: tuple[MetricResult, ...]


class ResultsReader:
    """Works results out whenever somebody asks."""

    def __init__(
        self,
        log: RequestLogStore,
        interactions: InteractionStore,
        secret: bytes,
        clock: Callable[[], datetime],
        attribution: timedelta,
    ) -> None:
        self._log = log
        self._interactions = interactions
        self._secret = secret
        self._clock = clock
        self._attribution = attribution

    async def read(self, experiment: Experiment) -> ExperimentResults:
        """The results up to now. Raises UnavailableError."""
        now = self._clock()
        start = experiment.started_at or now
        exposures = Exposures(self._attribution.total_seconds())
        async for batch in self._log.read(start, now, experiment_id=experiment.experiment_id):
            exposures.add(batch)
        columns = await self._interactions.columns(start - BEFORE, now)
        users = [user_pseudonym(self._secret, user_id) for user_id in columns.user_ids]
        exposures.attribute(columns, users, start.timestamp())
        return _results(experiment, now, exposures)


class Exposures:
    """Lists by user and item, and what came of them. Memory grows with the lists of the experiment."""

    def __init__(self, attribution_seconds: float) -> None:
        self._window = attribution_seconds
        self._shown: dict[tuple[User, str], list[tuple[float, int, str]]] = defaultdict(list)
        self._lists = 0
        self.tallies: dict[str, dict[User, _Tally]] = defaultdict(lambda: defaultdict(_Tally))
        self.before: dict[User, int] = defaultdict(int)

    def add(self, entries: Iterable[RequestEntry]) -> None:
        for entry in entries:
            if entry.user is None or entry.variant is None or entry.is_preview:
                continue
            self._lists += 1
            tally = self.tallies[entry.variant][entry.user]
            tally.lists += 1
            tally.empty += not entry.items
            tally.fallbacks += entry.fallback_reason is not None
            for item in entry.items:
                self._shown[entry.user, item.item_id].append((entry.at.timestamp(), self._lists, entry.variant))

    def attribute(self, columns: EventColumns, users: Sequence[User], start: float) -> None:
        for times in self._shown.values():
            times.sort()
        rows = zip(
            columns.user.tolist(),
            columns.item.tolist(),
            columns.kind.tolist(),
            _strengths(columns).tolist(),
            columns.occurred_at.tolist(),
            strict=True,
        )
        for user, item, kind, value, at in rows:
            if at < start:
                self.before[users[user]] += 1
                continue
            shown = self._newest(users[user], columns.item_ids[item], at)
            if shown is not None:
                _count(self.tallies[shown[2]][users[user]], shown[1], KINDS[kind], value)

    def _newest(self, user: User, item_id: str, at: float) -> tuple[float, int, str] | None:
        times = self._shown.get((user, item_id))
        if not times:
            return None
        place = bisect_right(times, at, key=lambda one: one[0])
        return times[place - 1] if place and at - times[place - 1][0] <= self._window else None


def _strengths(columns: EventColumns) -> NDArray[np.float64]:
    """(n,) the value of each interaction; for watches the watched ratio, NaN where the duration is unknown."""
    value, duration = columns.value.astype(np.float64), columns.duration.astype(np.float64)
    ratio = np.divide(value, duration, out=np.full(len(value), np.nan), where=duration > 0)
    return np.where(columns.kind == KINDS.index(Kind.WATCH), ratio, value)


def _count(tally: _Tally, list_number: int, kind: Kind, value: float) -> None:
    is_liked = kind is Kind.LIKE or (kind is Kind.RATING and value >= LIKED_RATING)
    if kind in _POSITIVE or is_liked:
        tally.hits.add(list_number)
    tally.likes += is_liked
    tally.purchases += kind is Kind.PURCHASE
    if kind is Kind.WATCH and not np.isnan(value):
        tally.watches += 1
        tally.watched += min(value, 1.0)


_SUMS: Mapping[Metric, Callable[[_Tally], tuple[float, float]]] = {
    Metric.HIT_RATE: lambda tally: (len(tally.hits), tally.lists),
    Metric.WATCH_RATIO: lambda tally: (tally.watched, tally.watches),
    Metric.LIKES_PER_LIST: lambda tally: (tally.likes, tally.lists),
    Metric.PURCHASES_PER_LIST: lambda tally: (tally.purchases, tally.lists),
    Metric.FALLBACK_SHARE: lambda tally: (tally.fallbacks, tally.lists),
    Metric.EMPTY_SHARE: lambda tally: (tally.empty, tally.lists),
}
"""(numerator, denominator) of one user."""


def _results(experiment: Experiment, now: datetime, exposures: Exposures) -> ExperimentResults:
    arms = tuple(_arm(arm.name, exposures.tallies.get(arm.name, {})) for arm in experiment.arms)
    chance = sample_ratio_p_value([arm.users for arm in arms], [arm.share for arm in experiment.arms])
    is_broken = chance < SRM_ALPHA
    comparisons = () if is_broken else tuple(_comparisons(experiment, exposures))
    return ExperimentResults(experiment, now, arms, chance, is_broken, comparisons)


def _arm(name: str, tallies: Mapping[User, _Tally]) -> ArmResult:
    metrics: dict[Metric, float | None] = {}
    for metric in Metric:
        sums = (
            np.array([_SUMS[metric](tally) for tally in tallies.values()], dtype=np.float64).reshape(-1, 2).sum(axis=0)
        )
        metrics[metric] = float(sums[0] / sums[1]) if sums[1] else None
    return ArmResult(name, len(tallies), sum(tally.lists for tally in tallies.values()), metrics)


def _comparisons(experiment: Experiment, exposures: Exposures) -> Iterable[MetricResult]:
    control, *others = experiment.arms
    for metric in (experiment.primary_metric, *experiment.guardrail_metrics):
        base = user_sums(metric, control.name, exposures)
        found = [compare(base, user_sums(metric, arm.name, exposures)) for arm in others]
        known = holm([one.always.p_value for one in found if one is not None])
        corrected = iter(known)
        for arm, one in zip(others, found, strict=True):
            yield MetricResult(arm.name, metric, one, None if one is None else next(corrected))


def user_sums(metric: Metric, arm: str, exposures: Exposures) -> UserSums:
    tallies = exposures.tallies.get(arm, {})
    pairs = np.array([_SUMS[metric](tally) for tally in tallies.values()], dtype=np.float64).reshape(-1, 2)
    before = np.array([exposures.before.get(user, 0) for user in tallies], dtype=np.float64)
    return UserSums(pairs[:, 0], pairs[:, 1], before)
