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
from app.application.ingestion.personal_events import identified
from app.application.invalidation.list_invalidation import ListInvalidator
from app.application.offloading import apart
from app.domain.entities import DeadLetter, IngestOutcome, Interaction
from app.domain.exceptions import EventRejectedError
from app.domain.stores import IngestBatch, InteractionStore
from app.spans import exemplar, span

MAX_KEPT_BYTES = 4_096
"""How much of a rejected event is kept: enough to see what it is, too little to fill a disk with."""

MAX_LETTERS = 100
"""Letters of one request: its answer says of every event what became of it, and a mistake repeats itself."""

EVENT_BYTES = 200
"""About what an event has: some eighty of them are decoded in a thread (offloading.py)."""

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

    async def ingest(self, raw: Sequence[RawEvent], person: str | None = None) -> Sequence[EventOutcome]:
        """One outcome per event, in order. Raises DatabaseUnavailableError, and then nothing was taken in.

        `person`: the user who sent them, all about herself; None for a service. What is refused of a person is
        answered and not kept; of a service the first MAX_LETTERS of a request are kept as dead letters.
        """
        started, now = time.perf_counter(), self._clock()
        with span("decode"):
            decoded, letters = await apart(len(raw) * EVENT_BYTES, self._decode, raw, now, person is None)
        if person is None:
            batch = self._kept_batch(raw, decoded, letters, now)
        else:
            events = [event for event in decoded if isinstance(event, Interaction)]
            batch = IngestBatch(await identified(self._interactions, person, events))
        with span("store"):
            result = await self._interactions.ingest(batch)
        telemetry.INGEST_SECONDS.labels(self._source).observe(time.perf_counter() - started, exemplar())
        with span("invalidate"):
            # A cache that does not answer makes nothing less accepted: the renewal is tried again.
            is_renewed = bool(result.touched) and await self._renewal.renew(result.touched)
        if is_renewed:
            telemetry.FRESHNESS_SECONDS.labels(self._source).observe(time.perf_counter() - started, exemplar())
        stored = iter(result.outcomes)
        outcomes = [_outcome_of(next(stored), event) if isinstance(event, Interaction) else event for event in decoded]
        self._count(outcomes)
        return outcomes

    def _kept_batch(
        self,
        raw: Sequence[RawEvent],
        decoded: Sequence[Interaction | EventOutcome],
        letters: Sequence[DeadLetter],
        now: datetime,
    ) -> IngestBatch:
        """The interactions, and letters for what is none or turns out to be none."""
        accepted = [index for index, event in enumerate(decoded) if isinstance(event, Interaction)]
        places = iter(range(MAX_LETTERS - len(letters)))

        def conflicting(index: int) -> tuple[DeadLetter | None, tuple[()]]:
            is_full = next(places, None) is None
            return None if is_full else self._letter(raw[accepted[index]], "id_conflict", now), ()

        interactions = [event for event in decoded if isinstance(event, Interaction)]
        return IngestBatch(interactions, letters, on_conflict=conflicting)

    def _decode(
        self, raw: Sequence[RawEvent], now: datetime, keeps_letters: bool
    ) -> tuple[Sequence[Interaction | EventOutcome], Sequence[DeadLetter]]:
        """What each event is, and letters of the first of those that were rejected, where any are kept."""
        decoded = [self._decoded(event, now) for event in raw]
        refused = [(index, event) for index, event in enumerate(decoded) if isinstance(event, EventOutcome)]
        kept = refused[:MAX_LETTERS] if keeps_letters else ()
        return decoded, [self._letter(raw[index], event.reason or "", now) for index, event in kept]

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
        reasons = (event.reason for event in outcomes if event.reason and event.outcome is IngestOutcome.REJECTED)
        for reason, number in Counter(reasons).items():
            telemetry.EVENTS_REJECTED.labels(self._source, reason).inc(number)


_WHY = {IngestOutcome.TOMBSTONED: ("erased", "user_id"), IngestOutcome.CONFLICT: ("id_conflict", "event_id")}
"""Why the store did not take in an event, and the field to blame."""


def _outcome_of(outcome: IngestOutcome, event: Interaction) -> EventOutcome:
    return EventOutcome(outcome, event.event_id, *_WHY.get(outcome, (None, None)))
