"""Rows of a file → interactions, and back. The hot loop of an import: columns are looked up once per batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from uuid import UUID

from app.application.event_decoding import content_identity
from app.application.row_values import EPOCH, LEEWAY, RowError, moment_of, number_of, text_of
from app.domain.exceptions import InputError
from app.domain.files import BrokenRow, RowBatch
from app.domain.identifiers import is_id
from app.domain.models import RESERVED_USER_IDS, Interaction, Kind

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

_RATING_RANGE = (0.5, 5.0)
_MAX_DEVICE_CHARACTERS = 64
_nothing: Callable[[Sequence[object]], object] = lambda _row: None  # noqa: E731 - stands where an itemgetter would


@dataclass(frozen=True, slots=True)
class InteractionRows:
    """How rows are read: `mapping` names the file's column for a field, `kind` is that of rows which name none."""

    now: datetime
    mapping: Mapping[str, str]
    kind: Kind | None = None

    def decode(self, batch: RowBatch, above: int) -> tuple[list[Interaction], list[BrokenRow]]:
        """(interactions, rows that are none); `above` rows of the file came before this batch.

        Raises InputError if the columns of a user and an item are not there.
        """
        getters = [_getter(batch.columns, name, self.mapping) for name in COLUMNS]
        if getters[1] is _nothing or getters[2] is _nothing:
            if not batch.rows:
                return [], []
            raise InputError("the file has no columns user_id and item_id; name them with --map user_id=…,item_id=…")
        good, bad = list[Interaction](), list[BrokenRow]()
        for place, row in enumerate(batch.rows):
            try:
                good.append(self._interaction([get(row) for get in getters], above + place))
            except RowError as error:
                bad.append(BrokenRow(batch.lines[place], str(error), ",".join(map(str, row))))
        return good, bad

    def _interaction(self, cells: Sequence[object], above: int) -> Interaction:
        given_id, user, item, kind_name, raw_value, when, raw_duration, raw_device = cells
        user_id, item_id = _checked_user(user), _checked_item(item)
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
        if isinstance(when, str) and when.isdigit() and len(when) <= 10:  # the usual case, four times as fast
            moment = EPOCH + timedelta(seconds=int(when))
            if int(when) >= 86_400 and moment <= self.now + LEEWAY:
                return moment
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


def _getter(columns: Sequence[str], name: str, mapping: Mapping[str, str]) -> Callable[[Sequence[object]], object]:
    place = find_column(columns, name, mapping)
    return _nothing if place is None else itemgetter(place)


@lru_cache(maxsize=65_536)  # the same few users and items come again and again
def _checked(value: object, name: str) -> str:
    text = text_of(value)
    if text is None:
        raise RowError(f"{name} is missing")
    if not is_id(text) or (name == "user_id" and text in RESERVED_USER_IDS):
        raise RowError(f"{name} is not a valid id")
    return text


def _checked_user(value: object) -> str:
    return _checked(value, "user_id")


def _checked_item(value: object) -> str:
    return _checked(value, "item_id")


def _check_numbers(kind: Kind, value: float | None, duration: float | None) -> None:
    if kind is Kind.RATING and (value is None or not _RATING_RANGE[0] <= value <= _RATING_RANGE[1]):
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
