"""The events Encore sends (docs/design.md §6): what they hold, on which topic, and how they become outbox messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID, uuid4

import msgspec

from app.domain.entities import OutboxMessage


class OutgoingEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A fact told to others. `key_field` names what orders them: events of one key arrive as they were sent."""

    topic: ClassVar[str]
    key_field: ClassVar[str]


class ModelTrainingStarted(OutgoingEvent, frozen=True, kw_only=True):
    """A training began to run."""

    topic: ClassVar[str] = "recommendation-service.model-training-started"
    key_field: ClassVar[str] = "training_id"
    model_id: str
    model_type: str
    training_id: str
    start_time: datetime
    parameters: Mapping[str, Any] = {}


class ModelTrainingCompleted(OutgoingEvent, frozen=True, kw_only=True):
    """A training ended; `artifact_path` is null unless it left a model that may serve. `reason` is for people."""

    topic: ClassVar[str] = "recommendation-service.model-training-completed"
    key_field: ClassVar[str] = "training_id"
    model_id: str
    training_id: str
    status: Literal["success", "failed"]
    completion_time: datetime
    metrics: Mapping[str, Any] = {}
    artifact_path: str | None = None
    reason: str | None = None


class ModelCanaryMoved(OutgoingEvent, frozen=True, kw_only=True):
    """A candidate began to take a share of users, took a larger one, or came to its end. `reason` is for people."""

    topic: ClassVar[str] = "recommendation-service.model-canary-moved"
    key_field: ClassVar[str] = "model_id"
    model_id: str
    model_type: str
    champion_id: str
    status: Literal["running", "promoted", "rolled_back", "stopped"]
    share: float
    timestamp: datetime
    reason: str | None = None


class RecommendationsRefreshed(OutgoingEvent, frozen=True, kw_only=True):
    """A list was made anew. Its item at `explored_place` (from 0, null if no place explores) had this propensity."""

    topic: ClassVar[str] = "recommendation-service.recommendations-refreshed"
    key_field: ClassVar[str] = "user_id"
    user_id: str
    recommendation_ids: tuple[str, ...]
    model_id: str | None
    timestamp: datetime
    explored_place: int | None = None
    propensity: float = 1.0


OUTGOING_EVENTS: tuple[type[OutgoingEvent], ...] = (
    ModelTrainingStarted,
    ModelTrainingCompleted,
    ModelCanaryMoved,
    RecommendationsRefreshed,
)


def to_message(
    event: OutgoingEvent,
    now: datetime,
    headers: Mapping[str, str] | None = None,
    new_id: Callable[[], UUID] = uuid4,
) -> OutboxMessage:
    """The event as it waits in the outbox; `headers` carry `traceparent` and the like."""
    return OutboxMessage(
        message_id=new_id(),
        topic=event.topic,
        key=getattr(event, event.key_field),
        payload=msgspec.json.encode(event),
        headers=dict(headers or {}),
        created_at=now,
    )
