"""Interactions by columns: what bulk paths hand on instead of a million objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import overload
from uuid import UUID

from app.domain.entities import Interaction, Kind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class InteractionTable(Sequence[Interaction]):
    """n interactions as columns of length n; as a sequence it makes each Interaction when it is asked for.

    `event_ids`: 16 bytes each; `micros`: µs since 1970; the others as the fields of Interaction.
    """

    event_ids: Sequence[bytes]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    kinds: Sequence[Kind]
    micros: Sequence[int]
    values: Sequence[float | None]
    durations: Sequence[float | None]
    devices: Sequence[str | None]

    @classmethod
    def of(cls, events: Sequence[Interaction]) -> InteractionTable:
        """The same interactions by columns."""
        return cls(
            [event.event_id.bytes for event in events],
            [event.user_id for event in events],
            [event.item_id for event in events],
            [event.kind for event in events],
            [(event.occurred_at - EPOCH) // _MICROSECOND for event in events],
            [event.value for event in events],
            [event.duration for event in events],
            [event.device for event in events],
        )

    @classmethod
    def joined(cls, parts: Sequence[InteractionTable]) -> InteractionTable:
        """All interactions of the parts, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        columns: list[list[object]] = [[], [], [], [], [], [], [], []]
        for part in parts:
            for column, more in zip(columns, part.columns(), strict=True):
                column.extend(more)
        return cls(*columns)  # type: ignore[arg-type]  # each list holds what the same column of the parts held

    def columns(self) -> tuple[Sequence[object], ...]:
        """Every column, in the order of the fields."""
        return (
            self.event_ids,
            self.user_ids,
            self.item_ids,
            self.kinds,
            self.micros,
            self.values,
            self.durations,
            self.devices,
        )

    def __len__(self) -> int:
        return len(self.event_ids)

    @overload
    def __getitem__(self, index: int) -> Interaction: ...

    @overload
    def __getitem__(self, index: slice) -> InteractionTable: ...

    def __getitem__(self, index: int | slice) -> Interaction | InteractionTable:
        if isinstance(index, slice):
            return InteractionTable(*(column[index] for column in self.columns()))  # type: ignore[arg-type]  # the same columns, cut
        return _interaction(*(column[index] for column in self.columns()))  # type: ignore[arg-type]  # the same columns, cut

    def __iter__(self) -> Iterator[Interaction]:
        return map(_interaction, *self.columns())


def moments_of(micros: Iterable[int]) -> Iterator[datetime]:
    """µs since 1970 as aware UTC moments."""
    return (EPOCH + timedelta(microseconds=one) for one in micros)


def _interaction(
    event_id: bytes,
    user_id: str,
    item_id: str,
    kind: Kind,
    micros: int,
    value: float | None,
    duration: float | None,
    device: str | None,
) -> Interaction:
    moment = EPOCH + timedelta(microseconds=micros)
    return Interaction(UUID(bytes=event_id), user_id, item_id, kind, moment, value, duration, device)
