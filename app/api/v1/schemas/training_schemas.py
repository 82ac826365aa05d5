"""Trainings and models over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from app.api.v1.schemas.common import Cursor, CursorPage, Moment, Number, QueryInt, RequestModel, ResponseModel
from app.domain.canary import HOURS, MAX_HOURS, MAX_STEPS, STEPS, Canary
from app.domain.entities import Champion, ModelVersion, TrainingJob

ModelType = Literal["hybrid", "collaborative", "content", "sequential", "popular", "als", "bpr", "lightfm"]


class TrainBody(RequestModel):
    """What to train, and from which window of events (start_date ≤ event < end_date)."""

    model_type: Annotated[ModelType, Field(examples=["hybrid"])]
    start_date: Moment | None = None
    end_date: Moment | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start_date is not None and self.end_date is not None and self.start_date >= self.end_date:
            raise PydanticCustomError("date_order", "the window ends before it starts")
        return self


class TrainingAnswer(ResponseModel):
    """A training: how far it is, or how it ended."""

    training_id: str
    model_type: str
    status: Annotated[str, Field(examples=["running"])]
    stage: str
    progress: Annotated[float, Field(ge=0, le=1)]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    start_date: datetime | None
    end_date: datetime | None
    cancel_requested: bool
    reason: str | None
    model_id: str | None
    metrics: dict[str, Any]

    @classmethod
    def of(cls, job: TrainingJob) -> TrainingAnswer:
        values = {name: getattr(job, name) for name in cls.model_fields}
        return cls(**{**values, "status": job.status.value, "metrics": dict(job.metrics)})


class TrainingsAnswer(ResponseModel):
    """Trainings, newest first."""

    trainings: list[TrainingAnswer]
    pagination: CursorPage


class TrainingsParams(RequestModel):
    """A page of trainings."""

    limit: Annotated[QueryInt, Field(ge=1, le=100)] = 20
    cursor: Cursor | None = None


class ModelAnswer(ResponseModel):
    """A model version: what it scored and where it comes from."""

    id: str
    type: str
    version: int
    status: Annotated[str, Field(examples=["champion"])]
    created_at: datetime
    promoted_at: datetime | None
    training_id: str | None
    is_loadable: bool
    metrics: dict[str, Any]
    lineage: dict[str, Any]
    notes: Annotated[
        dict[str, Any] | None,
        Field(description="What happened since (`fallback`, `restored`, `shadow`); for one version alone."),
    ] = None

    @classmethod
    def of(cls, model: ModelVersion, notes: Mapping[str, object] | None = None) -> ModelAnswer:
        return cls(
            id=model.model_id,
            type=model.model_type,
            version=model.version,
            status=model.status.value,
            created_at=model.created_at,
            promoted_at=model.promoted_at,
            training_id=model.training_id,
            is_loadable=model.artifact_key is not None,
            metrics=dict(model.metrics),
            lineage=dict(model.lineage),
            notes=None if notes is None else dict(notes),
        )


class ModelsAnswer(ResponseModel):
    """Model versions, newest first."""

    models: list[ModelAnswer]


class ModelsParams(RequestModel):
    """Which models to list."""

    type: ModelType | None = None
    limit: Annotated[QueryInt, Field(ge=1, le=100)] = 50


class RollbackBody(RequestModel):
    """Which type to take back to the version before."""

    model_type: Annotated[ModelType | None, Field(description="Default: the setting ENCORE_TRAIN_MODEL_TYPE.")] = None


class CanaryBody(RequestModel):
    """How a candidate goes on its way. Shares are of all users."""

    steps: Annotated[
        list[Annotated[Number, Field(gt=0, le=1)]],
        Field(
            min_length=1,
            max_length=MAX_STEPS,
            description="Rising shares; 1 is the promotion, and follows the last one by itself.",
            examples=[[0.05, 0.25, 1.0]],
            default_factory=lambda: list(STEPS),
        ),
    ]
    hours: Annotated[Number, Field(gt=0, le=MAX_HOURS, description="Length of each step.")] = HOURS


class CanaryAnswer(ResponseModel):
    """A candidate on its way, or at its end."""

    model_id: str
    model_type: str
    champion_id: str
    status: Annotated[str, Field(examples=["running"])]
    share: Annotated[float, Field(description="Of all users, who get the candidate's lists now.")]
    steps: list[float]
    hours: float
    started_at: datetime
    step_started_at: datetime
    reason: str | None
    figures: Annotated[dict[str, Any], Field(description="What the last step was decided by.")]
    revision: int

    @classmethod
    def of(cls, canary: Canary) -> CanaryAnswer:
        values = {name: getattr(canary, name) for name in cls.model_fields}
        values |= {"status": canary.status.value, "steps": list(canary.steps), "figures": dict(canary.figures)}
        return cls(**values)


class ChampionAnswer(ResponseModel):
    """The model in charge after a promotion or a rollback."""

    model: ModelAnswer
    epoch: int

    @classmethod
    def of(cls, champion: Champion) -> ChampionAnswer:
        return cls(model=ModelAnswer.of(champion.model), epoch=champion.epoch)
