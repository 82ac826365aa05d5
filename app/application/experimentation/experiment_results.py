"""Which arm is better: reads the request log and what its users did next, and compares the arms with control."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.application.experimentation.exposures import Exposures
from app.domain.experiment_statistics import SRM_ALPHA, Comparison, compare, holm, sample_ratio_p_value
from app.domain.experiments import Experiment, Metric
from app.domain.request_log import RequestLogStore, user_pseudonym
from app.domain.stores import InteractionStore

BEFORE = timedelta(days=14)
"""Activity before the experiment that explains part of the activity in it (CUPED)."""


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm. `metrics`: the ratio over all of its users; None where nothing was counted.

    `items_shown`: how many different items anybody saw: compare arms of the same size only, or by `items_shown` over
    the size of the catalog.
    """

    name: str
    users: int
    lists: int
    items_shown: int
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
        columns = await self._interactions.columns(start - BEFORE, now)

        def begun() -> Exposures:
            users = [user_pseudonym(self._secret, user_id) for user_id in columns.user_ids]
            seconds = self._attribution.total_seconds()
            return Exposures(columns, users, attribution_seconds=seconds, start=start.timestamp())

        exposures = await asyncio.to_thread(begun)
        async for batch in self._log.read(start, now, experiment_id=experiment.experiment_id):
            await asyncio.to_thread(exposures.add, batch)
        return await asyncio.to_thread(_results, experiment, now, exposures)


def _results(experiment: Experiment, now: datetime, exposures: Exposures) -> ExperimentResults:
    exposures.finish()
    arms = tuple(_arm(arm.name, exposures) for arm in experiment.arms)
    chance = sample_ratio_p_value([arm.users for arm in arms], [arm.share for arm in experiment.arms])
    is_broken = chance < SRM_ALPHA
    comparisons = () if is_broken else tuple(_comparisons(experiment, exposures))
    return ExperimentResults(experiment, now, arms, chance, is_broken, comparisons)


def _arm(name: str, exposures: Exposures) -> ArmResult:
    metrics: dict[Metric, float | None] = {}
    for metric in Metric:
        sums = exposures.user_sums(metric, name)
        total = float(sums.denominator.sum())
        metrics[metric] = float(sums.numerator.sum()) / total if total else None
    arm = exposures.arms.get(name)
    if arm is None:
        return ArmResult(name, 0, 0, 0, metrics)
    lists = sum(tally.lists for tally in arm.users.values())
    return ArmResult(name, len(arm.users), lists, len(arm.items), metrics)


def _comparisons(experiment: Experiment, exposures: Exposures) -> Iterable[MetricResult]:
    control, *others = experiment.arms
    for metric in (experiment.primary_metric, *experiment.guardrail_metrics):
        base = exposures.user_sums(metric, control.name)
        found = [compare(base, exposures.user_sums(metric, arm.name)) for arm in others]
        known = holm([one.always.p_value for one in found if one is not None])
        corrected = iter(known)
        for arm, one in zip(others, found, strict=True):
            yield MetricResult(arm.name, metric, one, None if one is None else next(corrected))
