"""What was sent and acknowledged, and the state of the database that must follow from it."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

WATCHED, RATED, LISTED = (
    "analytics-service.video-watched",
    "profile-service.video-rated",
    "profile-service.watchlist-updated",
)
TOPICS: Mapping[str, int] = {RATED: 6, WATCHED: 3, LISTED: 3}
"""Topic → partitions."""

KINDS = {WATCHED: "watch", RATED: "rating", LISTED: "watchlist"}
USERS, ITEMS = 3_000, 300
REPEAT_SHARE, POISON_SHARE, LATE_SHARE = 0.095, 0.005, 0.01
REMEMBERED = 5_000
"""How many recent events a repeat is drawn from."""

POISON = (
    b"{",
    b"\xff\xfe\x00",
    b"[]",
    b"",
    b"null",
    b'{"user_id":"u1"}',
    b'{"user_id":"u1","video_id":"v1","rating":"4","watched_duration":"x","timestamp":"2026-01-01T00:00:00Z"}',
    b'{"event_id":"7","user_id":"u1","video_id":"v1","timestamp":0}',
)

Pair = tuple[str, str, str]
"""(user, item, kind)."""


@dataclass(frozen=True, slots=True)
class Event:
    """One valid event."""

    event_id: UUID
    topic: str
    user_id: str
    item_id: str
    occurred_at: datetime
    value: float
    duration: float | None

    @property
    def pair(self) -> Pair:
        return self.user_id, self.item_id, KINDS[self.topic]

    def body(self) -> bytes:
        """What the producer sends."""
        fields: dict[str, object] = {
            "event_id": str(self.event_id),
            "user_id": self.user_id,
            "video_id": self.item_id,
            "timestamp": self.occurred_at.isoformat(),
        }
        match self.topic:
            case "profile-service.video-rated":
                fields["rating"] = self.value
            case "analytics-service.video-watched":
                fields |= {"watched_duration": self.value, "total_duration": self.duration}
            case _:
                fields["action"] = "added" if self.value else "removed"
        return json.dumps(fields).encode()


@dataclass(frozen=True, slots=True)
class Record:
    """One record for the log; `event` is None for poison."""

    topic: str
    key: bytes
    value: bytes
    event: Event | None


@dataclass(slots=True)
class State:
    """What is known of one pair: as PairState, and worked out here from the ledger alone."""

    count: int
    newest: tuple[datetime, UUID]
    value: float
    duration: float | None


@dataclass
class Ledger:
    """Draws records from a seed and books what the broker acknowledged."""

    seed: int
    acknowledged: dict[UUID, Event] = field(default_factory=dict)
    uncertain: dict[UUID, Event] = field(default_factory=dict)
    uncertain_poison: int = 0
    poison: int = 0
    records: int = 0
    ends: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._recent: list[Event] = []

    def draw(self, now: datetime) -> Record:
        """The next record to send."""
        roll = self._dice.random()
        if roll < POISON_SHARE:
            return Record(self._dice.choice([*TOPICS]), b"poison", self._dice.choice(POISON), None)
        if roll < POISON_SHARE + REPEAT_SHARE and self._recent:
            event = self._dice.choice(self._recent)
        else:
            event = self._new(now)
        return Record(event.topic, event.user_id.encode(), event.body(), event)

    def _new(self, now: datetime) -> Event:
        dice = self._dice
        topic = dice.choices([RATED, WATCHED, LISTED], [6, 3, 3])[0]
        late = timedelta(days=dice.uniform(0.1, 60)) if dice.random() < LATE_SHARE else timedelta(0)
        occurred = (now - late).astimezone(UTC).replace(microsecond=now.microsecond // 1_000 * 1_000)
        value = {
            RATED: dice.randint(1, 10) / 2,
            WATCHED: float(dice.randint(0, 100)),
            LISTED: float(dice.randint(0, 1)),
        }
        event = Event(
            event_id=UUID(int=dice.getrandbits(128), version=4),
            topic=topic,
            user_id=f"u{dice.randrange(USERS)}",
            item_id=f"v{dice.randrange(ITEMS)}",
            occurred_at=occurred,
            value=value[topic],
            duration=100.0 if topic == WATCHED else None,
        )
        self._recent.append(event)
        if len(self._recent) > REMEMBERED:
            del self._recent[: REMEMBERED // 2]
        return event

    def book(self, record: Record, partition: int, offset: int) -> None:
        """The broker has it."""
        place = (record.topic, partition)
        self.records += 1
        self.ends[place] = max(self.ends.get(place, 0), offset + 1)
        if record.event is None:
            self.poison += 1
        else:
            self.acknowledged[record.event.event_id] = record.event

    def doubt(self, record: Record) -> None:
        """The broker may have it: nothing is claimed about it either way."""
        if record.event is None:
            self.uncertain_poison += 1
        else:
            self.uncertain[record.event.event_id] = record.event

    def states(self) -> Mapping[Pair, State]:
        """Every pair's state, from the acknowledged events."""
        states: dict[Pair, State] = {}
        for event in self.acknowledged.values():
            key = (event.occurred_at, event.event_id)
            state = states.get(event.pair)
            if state is None:
                states[event.pair] = State(1, key, event.value, event.duration)
                continue
            state.count += 1
            if key > state.newest:
                state.newest, state.value, state.duration = key, event.value, event.duration
        return states

    def counts_by_item(self) -> Mapping[str, int]:
        """Events of each item."""
        return Counter(event.item_id for event in self.acknowledged.values())
