"""Rows of interaction files straight into columns: for judging on anybody's data, without a database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from app.application.transfer.columns import find_column, there_are
from app.application.transfer.row_values import RowError, any_moment_of, number_of, text_of
from app.domain.entities import KINDS, EventColumns, Kind
from app.domain.exceptions import InputError
from app.domain.files import RowBatch, RowReader

_BATCH_ROWS = 20_000
_KIND_POSITIONS = {kind.value: position for position, kind in enumerate(KINDS)}


@dataclass(slots=True)
class EventTable:
    """Collects rows; `columns()` gives them as EventColumns. Rows without a timestamp all happened at time 0."""

    users: dict[str, int] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    rows: list[tuple[int, int, int, float, float, float]] = field(default_factory=list)
    rejected: int = 0

    def read(self, reader: RowReader, mapping: Mapping[str, str] | None = None) -> None:
        """Take in every row of a file; rows without user or item, or with a broken number, are counted and left out.

        Raises InputError if the columns of a user and an item are not there.
        """
        for batch in reader.batches(_BATCH_ROWS):
            self.rejected += len(batch.broken)
            if batch.rows:
                self._take(batch, mapping or {})

    def _take(self, batch: RowBatch, mapping: Mapping[str, str]) -> None:
        names = ("user_id", "item_id", "kind", "value", "duration", "timestamp")
        user, item, kind, value, duration, when = (find_column(batch.columns, name, mapping) for name in names)
        if user is None or item is None:
            raise InputError(f"the file has no columns user_id and item_id; {there_are(batch.columns)}", "file")
        for row in batch.rows:
            cells = [None if place is None else row[place] for place in (kind, value, duration, when)]
            try:
                self.add(text_of(row[user]), text_of(row[item]), *cells)
            except RowError:
                self.rejected += 1

    def add(
        self,
        user_id: str | None,
        item_id: str | None,
        kind: object = None,
        value: object = None,
        duration: object = None,
        when: object = None,
    ) -> None:
        """One row. Without a kind it is a rating if it has a value, else a view. Raises RowError."""
        if not user_id or not item_id:
            raise RowError("user_id or item_id is missing")
        number, seconds = number_of(value, "value"), number_of(duration, "duration")
        name = str(kind).strip().lower() if kind else (Kind.VIEW if number is None else Kind.RATING).value
        if name not in _KIND_POSITIONS:
            raise RowError("unknown kind")
        moment = any_moment_of(when, "timestamp")
        self.rows.append(
            (
                self.users.setdefault(user_id, len(self.users)),
                self.items.setdefault(item_id, len(self.items)),
                _KIND_POSITIONS[name],
                np.nan if number is None else number,
                np.nan if seconds is None else seconds,
                0.0 if moment is None else moment.timestamp(),
            )
        )

    def columns(self) -> EventColumns:
        """What was collected, sorted as EventColumns promises."""
        return event_columns(tuple(self.users), tuple(self.items), self.rows)


def event_columns(
    user_ids: tuple[str, ...], item_ids: tuple[str, ...], rows: Iterable[tuple[int, int, int, float, float, float]]
) -> EventColumns:
    """From (user, item, kind, value, duration, Unix time) rows, in order of arrival."""
    table = np.array(list(rows), dtype=np.float64).reshape(-1, 6)
    table = table[np.lexsort((table[:, 5], table[:, 0]))]
    return EventColumns(
        user_ids,
        item_ids,
        table[:, 0].astype(np.int32),
        table[:, 1].astype(np.int32),
        table[:, 2].astype(np.int8),
        table[:, 3].astype(np.float32),
        table[:, 4].astype(np.float32),
        np.ascontiguousarray(table[:, 5]),
    )


def plain_columns(
    user_ids: tuple[str, ...],
    item_ids: tuple[str, ...],
    user: np.ndarray,
    item: np.ndarray,
    occurred_at: np.ndarray | None = None,
    kind: Kind = Kind.LIKE,
) -> EventColumns:
    """Pairs of positions as events of one kind, without values."""
    times = np.zeros(len(user)) if occurred_at is None else occurred_at.astype(np.float64)
    order = np.lexsort((times, user))
    nothing = np.full(len(user), np.nan, dtype=np.float32)
    return EventColumns(
        user_ids,
        item_ids,
        user[order].astype(np.int32),
        item[order].astype(np.int32),
        np.full(len(user), KINDS.index(kind), dtype=np.int8),
        nothing,
        nothing.copy(),
        times[order],
    )
