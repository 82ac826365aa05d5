"""Rows of a file → items and users, and back. Columns nobody knows become attributes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from app.application.transfer.columns import check_columns, places_of
from app.application.transfer.list_values import list_of, storable, storable_text
from app.application.transfer.row_values import (
    EPOCH,
    USUAL_TIMES,
    RowError,
    Times,
    any_moment_of,
    boolean_of,
    checked_item,
    checked_user,
    day_or_moment_of,
    integer_of,
    mapping_of,
    moment_of,
    text_of,
)
from app.domain.entities import Item, User
from app.domain.files import BrokenRow, RowBatch

ITEM_COLUMNS = (
    "item_id",
    "updated_at",
    "title",
    "description",
    "genres",
    "tags",
    "year",
    "published_at",
    "available",
    "available_from",
    "available_until",
    "attributes",
)
USER_COLUMNS = ("user_id", "updated_at", "attributes")
_NO_GENRES = frozenset({"(no genres listed)", "unknown"})  # of GroupLens
_SET = frozenset({"1", 1})
_TITLE_WITH_YEAR = re.compile(r"(?P<title>.*\S)\s*\((?P<year>\d{4})(?:[-–]\d{0,4})?\)\s*", re.DOTALL)
Entry = TypeVar("Entry", bound=Item | User)
Cells = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reading:
    """How catalog rows are read: `changed` is the time of a row that has none (that of the file).

    `separator` splits lists that are text (None: pipes, else commas); `is_year_in_title` takes `Toy Story (1995)`
    apart; `flags` are columns whose 1 says that the item has the genre of that name.
    """

    now: datetime
    changed: datetime
    mapping: Mapping[str, str] = field(default_factory=dict)
    separator: str | None = None
    is_year_in_title: bool = False
    times: Times = USUAL_TIMES
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CatalogRows(Generic[Entry]):
    """One kind of catalog rows."""

    columns: tuple[str, ...]
    build: Callable[[Cells, Mapping[str, object], Reading], Entry]

    def places(self, columns: Sequence[str], reading: Reading) -> Mapping[str, int]:
        """Where each field is that is there; the other columns become attributes."""
        return places_of(columns, self.columns, reading.mapping)

    def decode(self, batch: RowBatch, reading: Reading, above: int = 0) -> tuple[list[Entry], list[BrokenRow]]:
        """(entries, rows that are none); `above` rows of the file came before this batch.

        Raises InputError if the first rows do not have the column of the id, or one that was named.
        """
        if not batch.rows:
            return [], []
        if not above:
            check_columns(batch.columns, self.columns[:1], reading.mapping)
        known = self.places(batch.columns, reading)
        taken = set(known.values())
        others = [(place, name) for place, name in enumerate(batch.columns) if place not in taken]
        good, bad = list[Entry](), list[BrokenRow]()
        for line, row in zip(batch.lines, batch.rows, strict=True):
            try:
                good.append(self.build(_cells(row, known), {name: row[place] for place, name in others}, reading))
            except RowError as error:
                bad.append(BrokenRow(line, str(error), ",".join(map(str, row))))
        return good, bad


def _cells(row: Sequence[object], places: Mapping[str, int]) -> Cells:
    return {name: row[place] for name, place in places.items()}


def _item(cells: Cells, others: Mapping[str, object], reading: Reading) -> Item:
    title, year = _plain(cells, "title"), _year(cells, reading)
    if reading.is_year_in_title and title is not None and (found := _TITLE_WITH_YEAR.fullmatch(title)):
        title, year = found["title"], int(found["year"]) if year is None else year
    get, times = cells.get, reading.times
    genres = list_of(get("genres"), reading.separator, "genres")
    if reading.flags:
        genres += tuple(name for name, value in others.items() if name in reading.flags and value in _SET)
        others = {name: value for name, value in others.items() if name not in reading.flags}
    return Item(
        item_id=checked_item(get("item_id")),
        updated_at=_updated_at(cells, reading),
        title=title,
        description=_plain(cells, "description"),
        genres=tuple(genre for genre in genres if genre not in _NO_GENRES),
        tags=list_of(get("tags"), reading.separator, "tags"),
        year=year,
        published_at=day_or_moment_of(get("published_at"), "published_at", times),
        available=boolean_of(get("available"), "available"),
        available_from=any_moment_of(get("available_from"), "available_from", times),
        available_until=any_moment_of(get("available_until"), "available_until", times),
        attributes=_attributes(cells, others),
    )


def _year(cells: Cells, reading: Reading) -> int | None:
    try:
        return integer_of(cells.get("year"), "year")
    except RowError:
        if reading.is_year_in_title:  # ML-100K in RecBole's form holds what it found in the brackets, such as "V"
            return None
        raise


def _user(cells: Cells, others: Mapping[str, object], reading: Reading) -> User:
    return User(
        checked_user(cells.get("user_id")), _updated_at(cells, reading, allow_unknown=True), _attributes(cells, others)
    )


ITEMS = CatalogRows(ITEM_COLUMNS, _item)
USERS = CatalogRows(USER_COLUMNS, _user)


def encode_item(item: Item) -> tuple[object, ...]:
    """The cells of an item, in the order of ITEM_COLUMNS."""
    cells = (getattr(item, name) for name in ITEM_COLUMNS)
    return tuple(list(cell) if isinstance(cell, tuple) else cell for cell in cells)


def encode_user(user: User) -> tuple[object, ...]:
    """The cells of a user, in the order of USER_COLUMNS."""
    return tuple(getattr(user, name) for name in USER_COLUMNS)


def _plain(cells: Cells, name: str) -> str | None:
    text = text_of(cells.get(name), name)
    return None if text is None else storable_text(text, name)


def _updated_at(cells: Cells, reading: Reading, *, allow_unknown: bool = False) -> datetime:
    found = any_moment_of(cells.get("updated_at"), "updated_at", reading.times)
    if found is None:
        return min(reading.changed, reading.now)
    if allow_unknown and found == EPOCH:
        return found  # a user only known from interactions, as exported
    return moment_of(found, "updated_at", reading.now) or found


def _attributes(cells: Cells, others: Mapping[str, object]) -> Mapping[str, object]:
    found = {name: storable(value, name) for name, value in others.items() if value is not None and value != ""}
    named = {name: value for name, value in found.items() if value is not None}
    given = cells.get("attributes")
    if given is None or given == "":
        return named
    return {**named, **{name: storable(value, name) for name, value in mapping_of(given).items()}}
