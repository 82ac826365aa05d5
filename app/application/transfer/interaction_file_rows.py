"""Rows of a file → interactions, and back. The hot loop of an import: columns are looked up once per batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.application.ingestion.event_decoding import content_identity
from app.application.transfer.plain_ratings import Columns, could_be_plain, plain_ratings
from app.application.transfer.row_values import (
    EPOCH,
    RATING_RANGE,
    RowError,
    checked_item,
    checked_user,
    moment_of,
    number_of,
    text_of,
)
from app.domain.entities import Interaction, Kind
from app.domain.exceptions import InputError
from app.domain.files import BrokenRow, RowBatch
from app.domain.interaction_table import InteractionTable

COLUMNS = ("event_id", "user_id", "item_id", "kind", "value", "timestamp", "duration", "device")
ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("userid", "user"), "user_id"),
    **dict.fromkeys(("itemid", "item", "movieid", "movie_id", "videoid", "video_id"), "item_id"),
    **dict.fromkeys(("rating",), "value"),
    **dict.fromkeys(("occurred_at", "time"), "timestamp"),
}
"""Names that are understood without --map, in lower case."""

UNDATED_START = datetime(2000, 1, 1, tzinfo=EPOCH.tzinfo)
"""A row without a timestamp happened at this moment plus one millisecond per row above it in its file. So the order of
the file is kept, and importing the file again gives the same events."""

_MAX_DEVICE_CHARACTERS = 64
_CAREFUL_ROWS = 256


@dataclass(frozen=True, slots=True)
class InteractionRows:
    """How rows are read: `mapping` names the file's column for a field, `kind` is that of rows which name none."""

    now: datetime
    mapping: Mapping[str, str]
    kind: Kind | None = None

    def decode(self, batch: RowBatch, above: int) -> tuple[InteractionTable, list[BrokenRow]]:
        """(interactions, rows that are none); `above` rows of the file came before this batch.

        Raises InputError if the columns of a user and an item are not there.
        """
        places = {name: find_column(batch.columns, name, self.mapping) for name in COLUMNS}
        if not batch.rows:
            return InteractionTable.of([]), []
        if places["user_id"] is None or places["item_id"] is None:
            raise InputError("the file has no columns user_id and item_id; name them with --map user_id=…,item_id=…")
        by_place = list(zip(*batch.rows, strict=True))
        columns: Columns = {name: None if place is None else by_place[place] for name, place in places.items()}
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
        plain = plain_ratings(part, self.now)
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
        duration = number_of(raw_duration, "duration")
        _check_numbers(kind, value, duration)
        occurred_at = self._occurred_at(when, above)
        device = text_of(raw_device)
        if device is not None and (len(device) > _MAX_DEVICE_CHARACTERS or not device.isprintable()):
            raise RowError("device is too long or not printable")
        if given_id is None or given_id == "":
            identity = content_identity(user_id, item_id, kind, occurred_at, value, duration, device)
        else:
            identity = _uuid(given_id)
        return Interaction(identity, user_id, item_id, kind, occurred_at, value, duration, device)

    def _kind(self, name: object, value: float | None) -> Kind:
        if name is None or name == "":
            return self.kind or (Kind.VIEW if value is None else Kind.RATING)
        try:
            return Kind(str(name))
        except ValueError as exc:
            raise RowError("unknown kind") from exc

    def _occurred_at(self, when: object, above: int) -> datetime:
        found = moment_of(when, "timestamp", self.now)
        return UNDATED_START + timedelta(milliseconds=above) if found is None else found


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


def find_column(columns: Sequence[str], name: str, mapping: Mapping[str, str]) -> int | None:
    """Where a field is: under the name given for it, its own, or one that is understood."""
    if name in mapping:
        return columns.index(mapping[name]) if mapping[name] in columns else None
    if name in columns:
        return columns.index(name)
    for place, column in enumerate(columns):
        if ALIASES.get(column.lower()) == name and column not in mapping.values():
            return place
    return None


def _check_numbers(kind: Kind, value: float | None, duration: float | None) -> None:
    if kind is Kind.RATING and (value is None or not RATING_RANGE[0] <= value <= RATING_RANGE[1]):
        raise RowError("a rating is a number from 0.5 to 5")
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
