"""From the interactions of a batch to the columns that are staged. The hot loop of an ingest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from app.domain import interaction_table
from app.domain.entities import Interaction, Kind
from app.domain.interaction_table import InteractionTable
from app.infrastructure.database.dialects import Dialect, StagedColumns
from app.infrastructure.database.ingest_sql import KIND_CODES, SLOT_CODES


def staged_columns(events: Sequence[Interaction], dialect: Dialect) -> StagedColumns:
    """The columns of `staged`, in their order."""
    if isinstance(events, InteractionTable):
        return _columns(
            dialect.encode_ids(events.event_ids),
            events.user_ids,
            events.item_ids,
            events.kinds,
            dialect.encode_micros(events.micros),
            events.values,
            events.durations,
            events.devices,
        )
    to_id, to_moment = dialect.encode_id, dialect.encode_moment
    return _columns(
        [to_id(event.event_id) for event in events],
        [event.user_id for event in events],
        [event.item_id for event in events],
        [event.kind for event in events],
        [to_moment(event.occurred_at) for event in events],
        [event.value for event in events],
        [event.duration for event in events],
        [event.device for event in events],
    )


def _columns(
    ids: Sequence[object],
    users: Sequence[str],
    items: Sequence[str],
    kinds: Sequence[Kind],
    moments: Sequence[object],
    values: Sequence[object],
    durations: Sequence[object],
    devices: Sequence[object],
) -> StagedColumns:
    return {
        "position": range(len(ids)),
        "event_id": ids,
        "user_id": users,
        "item_id": items,
        "kind": list(map(KIND_CODES.__getitem__, kinds)),
        "occurred_at": moments,
        "value": values,
        "duration": durations,
        "device": devices,
        "is_alone": _alone(users, items, kinds),
    }


def _alone(users: Sequence[str], items: Sequence[str], kinds: Sequence[Kind]) -> Sequence[bool]:
    """Whether a row is the only one of its (user, item, slot) in the batch: nearly all are, and they are cheaper."""
    pairs = list(zip(users, items, map(SLOT_CODES.__getitem__, kinds), strict=True))
    times = Counter(pairs)
    if len(times) == len(pairs):
        return [True] * len(pairs)
    return [times[pair] == 1 for pair in pairs]


def moments_of(events: Sequence[Interaction]) -> Iterable[datetime]:
    """When they occurred."""
    if isinstance(events, InteractionTable):
        return interaction_table.moments_of(events.micros)
    return (event.occurred_at for event in events)


def users_of(events: Sequence[Interaction], but: Collection[int]) -> frozenset[str]:
    """Their users, leaving out some positions."""
    users = events.user_ids if isinstance(events, InteractionTable) else [event.user_id for event in events]
    return frozenset(users) if not but else frozenset(user for place, user in enumerate(users) if place not in but)
