"""Experiments over the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from app.api.v1.schemas.common import (
    TEXT_PATTERN,
    Cursor,
    CursorPage,
    Moment,
    Number,
    QueryInt,
    RequestModel,
    ResponseModel,
)
from app.api.v1.schemas.list_schemas import ListType
from app.api.v1.schemas.rule_schemas import AnyRuleBody
from app.application.experimentation.experiment_results import ArmResult, ExperimentResults, MetricResult
from app.application.experimentation.experiment_service import LAYER, ExperimentRequest
from app.domain.exceptions import InputError
from app.domain.experiment_statistics import Interval
from app.domain.experiments import MAX_ARMS, MAX_NAME_CHARACTERS, Arm, Experiment, Metric
from app.domain.rules import read_rules

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS, pattern=TEXT_PATTERN)]
Share = Annotated[Number, Field(gt=0, le=1)]


class ArmBody(RequestModel):
    """One variant. What is left out is as for everybody else."""

    name: Annotated[Name, Field(examples=["variety"])]
    share: Annotated[Share, Field(description="Of the experiment's users; the shares of all arms add up to 1.")]
    type: Annotated[ListType | None, Field(description="Which recommender answers.")] = None
    diversity: Annotated[Number, Field(ge=0, le=1)] | None = None
    model_id: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="The version that answers, not the champion.")
    ] = None
    rules: Annotated[list[AnyRuleBody], Field(max_length=20, default_factory=list)]

    def arm(self, place: int) -> Arm:
        """As the use case takes it. Raises InputError for rules that are impossible."""
        written = [rule.model_dump(mode="json", exclude_none=True) for rule in self.rules]
        try:
            rules = read_rules(written)
        except InputError as error:
            raise InputError(error.problem, f"/arms/{place}/rules") from None
        return Arm(self.name, self.share, self.type, self.diversity, self.model_id, rules)


class ExperimentBody(RequestModel):
    """What to find out. The first arm must be named `control`."""

    name: Annotated[Name, Field(examples=["More variety"])]
    hypothesis: Annotated[str, Field(max_length=2_000, pattern=TEXT_PATTERN)] = ""
    layer: Annotated[Name, Field(description="Experiments of one layer never share a user.")] = LAYER
    share: Annotated[Share, Field(description="Of all users; may grow while the experiment runs.", examples=[0.1])]
    arms: Annotated[list[ArmBody], Field(min_length=2, max_length=MAX_ARMS)]
    primary_metric: Metric = Metric.HIT_RATE
    guardrail_metrics: Annotated[list[Metric], Field(max_length=len(Metric), default_factory=list)]
    planned_end: Moment | None = None

    @property
    def request(self) -> ExperimentRequest:
        """As the use case takes it."""
        return ExperimentRequest(
            name=self.name,
            hypothesis=self.hypothesis,
            share=self.share,
            arms=tuple(arm.arm(place) for place, arm in enumerate(self.arms)),
            layer=self.layer,
            primary_metric=self.primary_metric,
            guardrail_metrics=tuple(self.guardrail_metrics),
            planned_end=self.planned_end,
        )


class ExperimentChange(RequestModel):
    """Another state, a larger share, or both. `revision`: the one you have seen; 409 if it is not the newest."""

    status: Literal["running", "paused", "stopped"] | None = None
    share: Share | None = None
    revision: Annotated[int, Field(strict=True, ge=1)] | None = None


class ArmAnswer(ResponseModel):
    """One variant."""

    name: str
    share: float
    type: str | None
    diversity: float | None
    model_id: str | None
    rules: Annotated[list[dict[str, Any]], Field(description="As they were given, with what they leave out.")]

    @classmethod
    def of(cls, arm: Arm) -> ArmAnswer:
        return cls(
            name=arm.name,
            share=arm.share,
            type=arm.list_type,
            diversity=arm.diversity,
            model_id=arm.model_id,
            rules=msgspec.to_builtins(arm.rules),
        )


class ExperimentAnswer(ResponseModel):
    """An experiment as it stands."""

    id: str
    name: str
    hypothesis: str
    layer: str
    status: Annotated[str, Field(examples=["running"])]
    share: float
    arms: list[ArmAnswer]
    primary_metric: str
    guardrail_metrics: list[str]
    created_at: datetime
    started_at: datetime | None
    planned_end: datetime | None
    stopped_at: datetime | None
    revision: int

    @classmethod
    def of(cls, experiment: Experiment) -> ExperimentAnswer:
        return cls(
            id=experiment.experiment_id,
            name=experiment.name,
            hypothesis=experiment.hypothesis,
            layer=experiment.layer,
            status=experiment.status.value,
            share=experiment.share,
            arms=[ArmAnswer.of(arm) for arm in experiment.arms],
            primary_metric=experiment.primary_metric.value,
            guardrail_metrics=[metric.value for metric in experiment.guardrail_metrics],
            created_at=experiment.created_at,
            started_at=experiment.started_at,
            planned_end=experiment.planned_end,
            stopped_at=experiment.stopped_at,
            revision=experiment.revision,
        )


class ExperimentsParams(RequestModel):
    """Which page of experiments."""

    limit: Annotated[QueryInt, Field(ge=1, le=100)] = 20
    cursor: Cursor | None = None


class ExperimentsAnswer(ResponseModel):
    """Experiments, newest first."""

    experiments: list[ExperimentAnswer]
    pagination: CursorPage


class IntervalAnswer(ResponseModel):
    """A 95 % interval of the difference, and the p-value of no difference."""

    low: float
    high: float
    p_value: float

    @classmethod
    def of(cls, interval: Interval) -> IntervalAnswer:
        return cls(low=interval.low, high=interval.high, p_value=interval.p_value)


class ComparisonAnswer(ResponseModel):
    """One arm against control. `fixed_horizon` is valid at a moment fixed before; `always_valid` at any time."""

    arm: str
    metric: str
    control: float
    treatment: float
    difference: float
    relative: float | None
    standard_error: float
    variance_kept: Annotated[float, Field(description="By CUPED: variance with over variance without.")]
    fixed_horizon: IntervalAnswer
    always_valid: IntervalAnswer
    corrected_p_value: Annotated[float, Field(description="Always-valid, corrected for the number of arms (Holm).")]

    @classmethod
    def of(cls, result: MetricResult) -> ComparisonAnswer | None:
        found, corrected = result.comparison, result.corrected_p_value
        if found is None or corrected is None:
            return None
        return cls(
            arm=result.arm,
            metric=result.metric.value,
            control=found.control,
            treatment=found.treatment,
            difference=found.difference,
            relative=found.relative,
            standard_error=found.standard_error,
            variance_kept=found.variance_kept,
            fixed_horizon=IntervalAnswer.of(found.fixed),
            always_valid=IntervalAnswer.of(found.always),
            corrected_p_value=corrected,
        )


class ArmResultAnswer(ResponseModel):
    """What one arm did."""

    name: str
    users: int
    lists: int
    items_shown: Annotated[int, Field(description="Different items that anybody of this arm saw.")]
    metrics: dict[str, float | None]

    @classmethod
    def of(cls, arm: ArmResult) -> ArmResultAnswer:
        metrics = {metric.value: value for metric, value in arm.metrics.items()}
        return cls(name=arm.name, users=arm.users, lists=arm.lists, items_shown=arm.items_shown, metrics=metrics)


class ResultsAnswer(ResponseModel):
    """Which arm is better, up to now. Comparisons are left out while the split is broken or arms have few users."""

    experiment: ExperimentAnswer
    as_of: datetime
    sample_ratio_p_value: float
    is_split_broken: Annotated[bool, Field(description="Users were not assigned as planned: trust nothing below.")]
    arms: list[ArmResultAnswer]
    comparisons: list[ComparisonAnswer]

    @classmethod
    def of(cls, results: ExperimentResults) -> ResultsAnswer:
        found = [ComparisonAnswer.of(one) for one in results.comparisons]
        return cls(
            experiment=ExperimentAnswer.of(results.experiment),
            as_of=results.as_of,
            sample_ratio_p_value=results.sample_ratio_p_value,
            is_split_broken=results.is_split_broken,
            arms=[ArmResultAnswer.of(arm) for arm in results.arms],
            comparisons=[one for one in found if one is not None],
        )
