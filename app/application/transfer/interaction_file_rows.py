"""Rows of a file → interactions, and back. The hot loop of an import: columns are looked up once per batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from app.application.ingestion.event_decoding import content_identity
from app.application.transfer.columns import check_columns, places_of
from app.application.transfer.plain_ratings import Columns, could_be_plain, plain_ratings
from app.application.transfer.row_values import (
    RATING_RANGE,
    USUAL_TIMES,
    RowError,
    Times,
    checked_item,
    checked_user,
    is_nothing,
    moment_of,
    number_of,
    text_of,
)
from app.application.transfer.scales import Scale
from app.application.transfer.undated import UNDATED_START, UndatedRows
from app.domain.entities import Interaction, Kind
from app.domain.files import BrokenRow, RowBatch
from app.domain.interaction_table import InteractionTable

COLUMNS = ("event_id", "user_id", "item_id", "kind", "value", "timestamp", "duration", "device")
USUAL_COLUMNS = ("user_id", "item_id", "value", "timestamp")
"""The usual order in a file without a header."""

_NEEDED = ("user_id", "item_id")
_MAX_DEVICE_CHARACTERS = 64
_CAREFUL_ROWS = 256
_NAMES: Mapping[str, Kind] = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class InteractionRows:
    """How rows are read: `mapping` names the file's column for a field, `kind` is that of rows which name none.

    `kinds`: what the file's own words for kinds mean, in lower case; `scale`: that of its ratings; `undated` is for
    one file.
    """

    now: datetime
    mapping: Mapping[str, str]
    kind: Kind | None = None
    times: Times = USUAL_TIMES
    scale: Scale | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    undated: UndatedRows = field(default_factory=UndatedRows)

    def places(self, columns: Sequence[str]) -> Mapping[str, int]:
        """Where each field is that is there."""
        return places_of(columns, COLUMNS, self.mapping)

    def decode(self, batch: RowBatch, above: int) -> tuple[InteractionTable, list[BrokenRow]]:
        """(interactions, rows that are none); `above` rows of the file came before this batch.

        Raises InputError if the first rows do not have the columns of a user and an item, or one that was named.
        """
        if not batch.rows:
            return InteractionTable.of([]), []
        if not above:
            check_columns(batch.columns, _NEEDED, self.mapping)
        places = self.places(batch.columns)
        by_place = list(zip(*batch.rows, strict=True))
        columns: Columns = {name: by_place[places[name]] if name in places else None for name in COLUMNS}
        good, bad = list[InteractionTable](), list[BrokenRow]()
        for piece in self._pieces(columns, 0, len(batch.rows)):
            if isinstance(piece, InteractionTable):
                good.append(piece)
            else:
                good.append(self._one_by_one(batch, columns, piece, above, bad))
        return InteractionTable.joined(good), bad

    def _pieces(self, columns: Columns, start: int, stop: int) -> Iterator[InteractionTable | range]:
        """The rows in order: plain ones ready, the others as ranges to go through one by one.

        Halving keeps the price of a bad row at a few hundred careful ones, however large the batch is.
        """
        if self.kind not in {None, Kind.RATING} or not could_be_plain(columns):
            yield range(start, stop)
            return
        part = {name: column and column[start:stop] for name, column in columns.items()}
        plain = plain_ratings(part, self.now, self.times.unit, self.scale)
        if plain is not None:
            yield plain
        elif stop - start <= _CAREFUL_ROWS:
            yield range(start, stop)
        else:
            middle = (start + stop) // 2
            yield from self._pieces(columns, start, middle)
            yield from self._pieces(columns, middle, stop)

    def _one_by_one(
        self, batch: RowBatch, columns: Columns, places: range, above: int, bad: list[BrokenRow]
    ) -> InteractionTable:
        good = list[Interaction]()
        nothing = [None] * len(batch.rows)
        whole = [columns[name] or nothing for name in COLUMNS]
        for place in places:
            try:
                good.append(self._interaction([column[place] for column in whole], above + place))
            except RowError as error:
                text = ",".join(map(str, batch.rows[place]))
                bad.append(BrokenRow(batch.lines[place], str(error), text))
        return InteractionTable.of(good)

    def _interaction(self, cells: Sequence[object], above: int) -> Interaction:
        given_id, user, item, kind_name, raw_value, when, raw_duration, raw_device = cells
        user_id, item_id = checked_user(user), checked_item(item)
        value = number_of(raw_value, "value")
        kind = self._kind(kind_name, value)
        if kind is Kind.RATING and value is not None and self.scale is not None:
            value = self.scale.rating(value)
        elif kind is Kind.WATCHLIST and value is None:
            value = 1.0
        duration = number_of(raw_duration, "duration")
        check_numbers(kind, value, duration)
        device = _device(raw_device)
        occurred_at = moment_of(when, "timestamp", self.now, self.times)
        if not is_nothing(given_id):
            identity = _uuid(given_id)
        elif occurred_at is None:
            identity = self.undated.identity(user_id, item_id, kind, value, duration, device)
        else:
            identity = content_identity(user_id, item_id, kind, occurred_at, value, duration, device)
        if occurred_at is None:
            occurred_at = UNDATED_START + timedelta(milliseconds=above)
        return Interaction(identity, user_id, item_id, kind, occurred_at, value, duration, device)

    def _kind(self, name: object, value: float | None) -> Kind:
        if is_nothing(name):
            return self.kind or (Kind.VIEW if value is None else Kind.RATING)
        word = str(name).strip().lower()
        kind = self.kinds.get(word) or _NAMES.get(word)
        if kind is None:
            raise RowError(f"unknown kind: it is none of {', '.join(_NAMES)}; --map-kind translates others")
        return kind


def encode(event: Interaction) -> tuple[object, ...]:
    """The cells of an interaction, in the order of COLUMNS."""
    return (
        str(event.event_id),
        event.user_id,
        event.item_id,
        event.kind.value,
        event.value,
        event.occurred_at,
        event.duration,
        event.device,
    )


def check_numbers(kind: Kind, value: float | None, duration: float | None) -> None:
    """Raises RowError for numbers that this kind cannot have."""
    if kind is Kind.RATING and (value is None or not RATING_RANGE[0] <= value <= RATING_RANGE[1]):
        raise RowError("a rating is a number from 0.5 to 5; --scale 1..10 converts others")
    if kind is Kind.WATCH and value is not None and value < 0:
        raise RowError("watched seconds are negative")
    if kind is Kind.WATCHLIST and value not in {0.0, 1.0}:
        raise RowError("a watchlist value is 1 (added) or 0 (removed)")
    if duration is not None and duration < 0:
        raise RowError("duration is negative")


def _uuid(value: object) -> UUID:
    try:
        return UUID(str(value))
    except ValueError as exc:
        raise RowError("event_id is not a UUID") from exc


def _device(value: object) -> str | None:
    device = text_of(value, "device")
    if device is not None and (len(device) > _MAX_DEVICE_CHARACTERS or not device.isprintable()):
        raise RowError("device is too long or not printable")
    return device
