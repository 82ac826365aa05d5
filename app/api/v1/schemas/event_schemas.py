"""Events over the wire. Their fields are those of the decoder (event_types.py), here only documented."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from pydantic import Field

from app.api.v1.schemas.common import ResponseModel
from app.application.ingestion.event_types import EVENT_TYPES, UserEvent

MAX_EVENTS = 5_000
"""Events in one request: one transaction of some hundred milliseconds."""

EVENT_CLASSES = tuple(shape for shape in EVENT_TYPES.values() if issubclass(shape, UserEvent))
ONE = {"anyOf": [{"$ref": f"#/components/schemas/{shape.__name__}"} for shape in EVENT_CLASSES]}
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"anyOf": [ONE, {"type": "array", "items": ONE, "minItems": 1, "maxItems": MAX_EVENTS}]},
        }
    },
}


class EventResult(ResponseModel):
    """What became of one event; `index` is its place in the request."""

    index: int
    outcome: Annotated[str, Field(examples=["accepted"])]
    event_id: UUID | None
    reason: Annotated[str | None, Field(description="Why it was rejected: a stable code.")]
    field: str | None


class EventsAnswer(ResponseModel):
    """What became of the events of a request. Accepted ones are stored, and change the next list."""

    accepted: int
    duplicates: int
    rejected: int
    results: list[EventResult]
    request_id: str


def event_schemas() -> dict[str, Any]:
    """The events' JSON Schemas by name, from the classes that decode them."""
    _, schemas = msgspec.json.schema_components(EVENT_CLASSES, ref_template="#/components/schemas/{name}")
    return dict(schemas)
