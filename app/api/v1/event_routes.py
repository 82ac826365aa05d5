"""`/api/v1/events`: one event or many, taken in by the rules of the Kafka topics."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
from fastapi import Request, Response

from app.api.dependencies import ContextDep, PrincipalDep, ServicesDep
from app.api.security import Principal, require_scopes, require_self, with_policy
from app.api.strict_json import parse_json
from app.api.v1.route_docs import BODY_PROBLEMS, CLOSED_PROBLEMS, problem_responses, router
from app.api.v1.schemas.event_schemas import MAX_EVENTS, REQUEST_BODY, EventsAnswer
from app.application.ingestion.http_ingestion import EventOutcome, RawEvent
from app.application.offloading import apart
from app.domain.entities import IngestOutcome
from app.domain.exceptions import ConflictError, EventRejectedError, InputError, UserErasedError
from app.domain.identifiers import id_of

routes = router("/api/v1", "events")


@routes.post(
    "/events",
    operation_id="sendEvents",
    status_code=202,
    response_model=EventsAnswer,
    responses=problem_responses(*CLOSED_PROBLEMS, *BODY_PROBLEMS, 409),
    openapi_extra={"requestBody": REQUEST_BODY},
)
@with_policy(require_scopes("events:write", is_bulk=True, is_small_for_people=True))
async def send_events(request: Request, uses: ServicesDep, call: ContextDep, caller: PrincipalDep) -> Response:
    """Take in events. People may send their own only. An accepted event changes the user's next list.

    Each event counts as a request; all of a request's, or none, are within the limit. People may send fewer at once
    than services (`ENCORE_PERSON_BATCH_EVENTS`). 422 if none could be taken in; otherwise each event's outcome is
    reported.
    """
    body = await request.body()
    raw = await apart(len(body), read_events, body, caller, uses.batches.of(caller))
    if len(raw) > 1:
        call.quota = await uses.limiter.hit(caller.limit_key, caller.is_service, len(raw) - 1)
    outcomes = await uses.events.ingest(raw, None if caller.acts_for_anyone else caller.subject)
    refuse_if_none(outcomes)
    content = await apart(len(body), rendered, outcomes, call.request_id)
    return Response(content, 202, media_type="application/json")


def read_events(body: bytes, caller: Principal, most: int) -> Sequence[RawEvent]:
    """The events of a body, each by itself. Raises InputError, or PermissionDeniedError for somebody else's."""
    events = listed(parse_json(body), most)
    if not caller.acts_for_anyone:
        refuse_foreign(events, caller)
    return [event if isinstance(event, dict) else json.dumps(event).encode() for event in events]


def rendered(outcomes: Sequence[EventOutcome], request_id: str) -> bytes:
    """EventsAnswer as bytes: through its model five thousand outcomes would take tens of milliseconds."""
    counts = Counter(found.outcome for found in outcomes)
    taken = counts[IngestOutcome.ACCEPTED] + counts[IngestOutcome.DUPLICATE]
    return msgspec.json.encode(
        {
            "accepted": counts[IngestOutcome.ACCEPTED],
            "duplicates": counts[IngestOutcome.DUPLICATE],
            "rejected": len(outcomes) - taken,
            "results": [
                {
                    "index": index,
                    "outcome": found.outcome.value,
                    "event_id": found.event_id,
                    "reason": found.reason,
                    "field": found.field,
                }
                for index, found in enumerate(outcomes)
            ],
            "request_id": request_id,
        }
    )


def listed(body: object, most: int = MAX_EVENTS) -> Sequence[object]:
    """The events of a body: one object, or an array of `most` at most. Raises InputError."""
    events = body if isinstance(body, list) else [body]
    if not 1 <= len(events) <= most:
        raise InputError("too few or too many events")
    return events


def refuse_foreign(events: Sequence[object], caller: Principal) -> None:
    """Raise PermissionDeniedError if any event is about somebody else; one without a user is rejected later."""
    for event in events:
        fields = event.get("data") if isinstance(event, Mapping) and "specversion" in event else event
        user_id = id_of(fields.get("user_id")) if isinstance(fields, Mapping) else None
        if isinstance(user_id, str):
            require_self(caller, user_id)


def refuse_if_none(outcomes: Sequence[EventOutcome]) -> None:
    """Raise for a request of which nothing was taken in: a success that stored nothing would mislead."""
    if any(found.outcome in {IngestOutcome.ACCEPTED, IngestOutcome.DUPLICATE} for found in outcomes):
        return
    rejected = next((found for found in outcomes if found.outcome is IngestOutcome.REJECTED), None)
    if rejected is None and any(found.outcome is IngestOutcome.TOMBSTONED for found in outcomes):
        raise UserErasedError("this user was erased after these events")
    if rejected is None:
        raise ConflictError("these event ids belong to other events")
    raise EventRejectedError(rejected.reason or "shape", rejected.field)
