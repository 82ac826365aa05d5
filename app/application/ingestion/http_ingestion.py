"""Events that arrive over HTTP: decoded, stored in one transaction, visible in the next list."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from app import telemetry
from app.application.ingestion.event_decoding import OLDEST, decode_event
from app.application.invalidation.list_invalidation import ListInvalidator
from app.domain.entities import DeadLetter, IngestOutcome, Interaction
from app.domain.exceptions import EventRejectedError
from app.domain.stores import IngestBatch, InteractionStore

MAX_KEPT_BYTES = 4_096
"""How much of a rejected event is kept: enough to see what it is, too little to fill a disk with."""

RawEvent = bytes | Mapping[str, object]


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """What became of one event. `reason` and `field` say why it was rejected."""

    outcome: IngestOutcome
    event_id: UUID | None = None
    reason: str | None = None
    field: str | None = None


class EventIngestion:
    """Takes in events. An accepted one is stored, and the next list of its user knows it."""

    def __init__(
        self,
        interactions: InteractionStore,
        renewal: ListInvalidator,
        clock: Callable[[], datetime],
        source: str = "http",
        max_age: timedelta = OLDEST,
    ) -> None:
        self._interactions = interactions
        self._renewal = renewal
        self._clock = clock
        self._source = source
        self._max_age = max_age

    async def ingest(self, raw: Sequence[RawEvent]) -> Sequence[EventOutcome]:
        """One outcome per event, in order. Raises DatabaseUnavailableError, and then nothing was taken in."""
        started, now = time.perf_counter(), self._clock()
        decoded = [self._decoded(event, now) for event in raw]
        accepted = [index for index, event in enumerate(decoded) if isinstance(event, Interaction)]
        interactions = [event for event in decoded if isinstance(event, Interaction)]
        letters = [
            self._letter(raw[index], event.reason or "", now)
            for index, event in enumerate(decoded)
            if isinstance(event, EventOutcome)
        ]

        def conflicting(index: int) -> tuple[DeadLetter, tuple[()]]:
            return self._letter(raw[accepted[index]], "id_conflict", now), ()

        result = await self._interactions.ingest(IngestBatch(interactions, letters, on_conflict=conflicting))
        telemetry.INGEST_SECONDS.labels(self._source).observe(time.perf_counter() - started)
        # A cache that does not answer makes nothing less accepted: the renewal is tried again.
        if result.touched and await self._renewal.renew(result.touched):
            telemetry.FRESHNESS_SECONDS.labels(self._source).observe(time.perf_counter() - started)
        stored = iter(result.outcomes)
        outcomes = [
            EventOutcome(next(stored), event.event_id) if isinstance(event, Interaction) else event for event in decoded
        ]
        self._count(outcomes)
        return outcomes

    def _decoded(self, raw: RawEvent, now: datetime) -> Interaction | EventOutcome:
        try:
            event = decode_event(raw, now, max_age=self._max_age)
        except EventRejectedError as error:
            return EventOutcome(IngestOutcome.REJECTED, None, error.reason, error.field)
        if isinstance(event, Interaction):
            return event
        # The catalog has routes, and a scope, of its own.
        return EventOutcome(IngestOutcome.REJECTED, None, "unsupported", "type")

    def _letter(self, raw: RawEvent, reason: str, now: datetime) -> DeadLetter:
        payload = raw if isinstance(raw, bytes) else json.dumps(raw, default=str).encode()
        return DeadLetter(self._source, reason, payload[:MAX_KEPT_BYTES], sha256(payload).hexdigest(), now)

    def _count(self, outcomes: Sequence[EventOutcome]) -> None:
        for outcome, number in Counter(event.outcome for event in outcomes).items():
            telemetry.EVENTS.labels(self._source, outcome.value).inc(number)
        for reason, number in Counter(event.reason for event in outcomes if event.reason).items():
            telemetry.EVENTS_REJECTED.labels(self._source, reason).inc(number)
