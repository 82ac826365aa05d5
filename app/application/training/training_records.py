"""What a training writes down: lineage and metrics of a model row, and the events it sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from app.application.evaluation.evaluation import Evaluation
from app.application.evaluation.selection import Recipe
from app.application.outgoing.outgoing_events import (
    ModelTrainingCompleted,
    ModelTrainingStarted,
    OutgoingEvent,
    to_message,
)
from app.application.training.comparison import Decision, Snapshot
from app.domain.entities import (
    Champion,
    ModelStatus,
    ModelVersion,
    OutboxMessage,
    TrainingJob,
    TrainingStatus,
)
from app.domain.exceptions import TrainingError
from app.spans import traceparent

QUALITY_METRICS = ("ndcg@10", "recall@20")


class RecipeFacts(msgspec.Struct, frozen=True):
    """`build(name, parameters)` makes the model's twin."""

    name: str
    parameters: dict[str, object]


class TrainingWindow(msgspec.Struct, frozen=True):
    """The data a model was fitted to: the bounds asked for (RFC 3339), and what was found (Unix seconds, counts)."""

    start: str | None
    end: str | None
    first_event: float
    last_event: float
    interactions: int
    users: int
    items: int


class Lineage(msgspec.Struct, frozen=True):
    """Where a model comes from; stored in its row, read again when it must be judged. `parent`: the champion then."""

    recipe: RecipeFacts
    window: TrainingWindow
    seed: int
    code_version: str
    parent: str | None
    is_refresh: bool


def model_id_of(training_id: str) -> str:
    """The id of the model a training makes: known from its start, the same however often it is told."""
    return str(uuid5(NAMESPACE_URL, f"encore:model:{training_id}"))


def window_of(job: TrainingJob, snapshot: Snapshot) -> TrainingWindow:
    """The facts about the data."""
    times = snapshot.columns.occurred_at
    return TrainingWindow(
        start=_iso(job.start_date),
        end=_iso(job.end_date),
        first_event=float(times.min()),
        last_event=float(times.max()),
        interactions=len(times),
        users=snapshot.n_users,
        items=snapshot.n_items,
    )


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def read_lineage(champion: Champion) -> Lineage:
    """The lineage of the champion. Raises TrainingError where the row does not hold one."""
    try:
        return msgspec.convert(champion.model.lineage, Lineage)
    except msgspec.ValidationError as error:
        raise TrainingError("the champion's row does not say how it was made") from error


def quality(evaluation: Evaluation) -> dict[str, float]:
    """The few figures that dashboards and events carry."""
    return {
        **{name: evaluation.mean(name) for name in QUALITY_METRICS if name in evaluation.per_user},
        "coverage": evaluation.coverage,
    }


def score_of(model: ModelVersion, metric: str) -> float:
    """What a model scored on its own hold-out, or 0 where its row does not tell."""
    figures = model.metrics.get("quality")
    score = figures.get(metric) if isinstance(figures, Mapping) else None
    return float(score) if isinstance(score, int | float) else 0.0


def manifest_facts(
    model: ModelVersion, decision: Decision, seed: int, code_version: str, indexes: Mapping[str, Mapping[str, object]]
) -> dict[str, object]:
    """What an artifact says of itself: how it was made and judged, and what vector indexes over it find."""
    return {
        "model_type": model.model_type,
        "window": model.lineage["window"],
        "seed": seed,
        "code_version": code_version,
        "evaluation": decision.evaluation.summary(),
        "indexes": indexes,
    }


def model_row(
    job: TrainingJob, decision: Decision, lineage: Lineage, version: int, created_at: datetime
) -> ModelVersion:
    """The row of the model (not yet saved), or of the rejected candidate."""
    return ModelVersion(
        model_id=model_id_of(job.training_id),
        model_type=job.model_type,
        version=version,
        status=ModelStatus.CANDIDATE if decision.verdict.promote else ModelStatus.REJECTED,
        created_at=created_at,
        training_id=job.training_id,
        artifact_key=None,
        manifest_sha256=None,
        metrics=metrics_of(decision),
        lineage=msgspec.to_builtins(lineage),
    )


def metrics_of(decision: Decision) -> dict[str, object]:
    """Everything the comparison found, JSON-serialisable."""
    return {
        "quality": quality(decision.evaluation),
        "candidate": decision.candidate.summary(),
        "champion": None if decision.champion is None else decision.champion.summary(),
        "champion_as": decision.champion_as,
        "popularity": decision.popularity.summary(),
        "is_refresh": decision.is_refresh,
        "repeats": {
            "rate": decision.repeats.rate,
            "pairs": decision.repeats.pairs,
            "may_return": decision.repeats.may_return,
        },
        "verdict": {
            "promote": decision.verdict.promote,
            "reasons": list(decision.verdict.reasons),
            "details": dict(decision.verdict.details),
        },
        "selection": [dict(row) for row in decision.selection],
    }


def recipe_facts(recipe: Recipe) -> RecipeFacts:
    """The recipe as stored."""
    return RecipeFacts(recipe.name, dict(recipe.parameters))


def ended(
    job: TrainingJob, status: TrainingStatus, reason: str, at: datetime, metrics: Mapping[str, object] | None = None
) -> TrainingJob:
    """The job in its final state."""
    has_model = status in (TrainingStatus.PROMOTED, TrainingStatus.REJECTED)
    return replace(
        job,
        status=status,
        reason=reason,
        finished_at=at,
        stage=status.value,
        progress=1.0 if has_model else job.progress,
        model_id=model_id_of(job.training_id) if has_model else None,
        metrics=metrics or {},
    )


def started_message(job: TrainingJob, at: datetime) -> OutboxMessage:
    """ModelTrainingStarted."""
    event = ModelTrainingStarted(
        model_id=model_id_of(job.training_id),
        model_type=job.model_type,
        training_id=job.training_id,
        start_time=at,
        parameters=dict(job.parameters),
    )
    return _message(job, event, at)


def completed_message(job: TrainingJob, at: datetime, artifact_key: str | None = None) -> OutboxMessage:
    """ModelTrainingCompleted: a success if the model was promoted; otherwise failed, with the reason."""
    figures = job.metrics.get("quality")
    event = ModelTrainingCompleted(
        model_id=model_id_of(job.training_id),
        training_id=job.training_id,
        status="success" if job.status is TrainingStatus.PROMOTED else "failed",
        completion_time=at,
        metrics=figures if isinstance(figures, Mapping) else {},
        artifact_path=artifact_key,
        reason=job.reason,
    )
    return _message(job, event, at)


def _message(job: TrainingJob, event: OutgoingEvent, at: datetime) -> OutboxMessage:
    """The id is the event's own: told twice, it is still one event."""

    def message_id() -> UUID:
        return uuid5(NAMESPACE_URL, f"encore:{event.topic}:{job.training_id}")

    parent = traceparent()
    return to_message(event, at, {"traceparent": parent} if parent else None, new_id=message_id)
