"""Rows of a file → items and users, and back. Columns nobody knows become attributes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

from app.application.transfer.interaction_file_rows import find_column
from app.application.transfer.row_values import (
    RowError,
    any_moment_of,
    boolean_of,
    checked_item,
    checked_user,
    integer_of,
    list_of,
    mapping_of,
    moment_of,
    text_of,
)
from app.domain.entities import Item, User
from app.domain.exceptions import InputError
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
NO_GENRES = "(no genres listed)"
_TITLE_WITH_YEAR = re.compile(r"(?P<title>.*\S)\s*\((?P<year>\d{4})(?:[-–]\d{0,4})?\)\s*", re.DOTALL)
Entry = TypeVar("Entry", bound=Item | User)
Cells = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reading:
    """How catalog rows are read: `changed` is the time of a row that has none (that of the file).

    `separator` splits lists that are text; `is_year_in_title` takes `Toy Story (1995)` apart.
    """

    now: datetime
    changed: datetime
    mapping: Mapping[str, str] = field(default_factory=dict)
    separator: str = "|"
    is_year_in_title: bool = False


@dataclass(frozen=True, slots=True)
class CatalogRows(Generic[Entry]):
    """One kind of catalog rows."""

    columns: tuple[str, ...]
    build: Callable[[Cells, Mapping[str, object], Reading], Entry]

    def decode(self, batch: RowBatch, reading: Reading) -> tuple[list[Entry], list[BrokenRow]]:
        """(entries, rows that are none). Raises InputError if the column of the id is not there."""
        places = {name: find_column(batch.columns, name, reading.mapping) for name in self.columns}
        if not batch.rows:
            return [], []
        if places[self.columns[0]] is None:
            raise InputError(f"the file has no column {self.columns[0]}; name it with --map {self.columns[0]}=…")
        known = {name: place for name, place in places.items() if place is not None}
        others = [(place, name) for place, name in enumerate(batch.columns) if place not in known.values()]
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
    genres = list_of(cells.get("genres"), reading.separator)
    return Item(
        item_id=checked_item(cells.get("item_id")),
        updated_at=_updated_at(cells, reading),
        title=title,
        description=_plain(cells, "description"),
        genres=tuple(genre for genre in genres if genre != NO_GENRES),
        tags=list_of(cells.get("tags"), reading.separator),
        year=year,
        published_at=any_moment_of(cells.get("published_at"), "published_at"),
        available=boolean_of(cells.get("available"), "available"),
        available_from=any_moment_of(cells.get("available_from"), "available_from"),
        available_until=any_moment_of(cells.get("available_until"), "available_until"),
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
    text = text_of(cells.get(name))
    if text is not None and not _is_storable(text):
        raise RowError(f"{name} holds characters that cannot be stored")
    return text


def _is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _updated_at(cells: Cells, reading: Reading, *, allow_unknown: bool = False) -> datetime:
    found = any_moment_of(cells.get("updated_at"), "updated_at")
    if found is None:
        return min(reading.changed, reading.now)
    if allow_unknown and found == datetime(1970, 1, 1, tzinfo=UTC):
        return found  # a user only known from interactions, as exported
    return moment_of(found, "updated_at", reading.now) or found


def _attributes(cells: Cells, others: Mapping[str, object]) -> Mapping[str, object]:
    named = {name: value for name, value in others.items() if value is not None and value != ""}
    return {**named, **mapping_of(cells.get("attributes"))}
