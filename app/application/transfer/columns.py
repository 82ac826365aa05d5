"""Which column of a file holds which field, and which rows are wanted at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.exceptions import InputError
from app.domain.files import RowBatch

ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("userid", "user", "visitorid", "visitor_id", "reviewerid"), "user_id"),
    **dict.fromkeys(("itemid", "item", "movieid", "movie_id", "videoid", "video_id"), "item_id"),
    **dict.fromkeys(("rating",), "value"),
    **dict.fromkeys(("occurred_at", "time", "date", "datetime", "event_time", "unixreviewtime"), "timestamp"),
    **dict.fromkeys(("event", "event_type", "action", "behavior"), "kind"),
    **dict.fromkeys(("genre",), "genres"),
}
"""Names that are understood without --map, in lower case, with _ for - and spaces."""

_SHOWN_COLUMNS = 40


def places_of(columns: Sequence[str], fields: Sequence[str], mapping: Mapping[str, str]) -> Mapping[str, int]:
    """Where each field is that is there: under the name given for it, its own, or one that is understood."""
    found = {name: find_column(columns, name, mapping) for name in fields}
    return {name: place for name, place in found.items() if place is not None}


def find_column(columns: Sequence[str], name: str, mapping: Mapping[str, str]) -> int | None:
    """Where one field is."""
    if name in mapping:
        return columns.index(mapping[name]) if mapping[name] in columns else None
    free = [place for place, column in enumerate(columns) if column not in mapping.values()]
    plain = {place: columns[place].lower().replace("-", "_").replace(" ", "_") for place in free}
    exact = (place for place in free if columns[place] == name)
    own = (place for place in free if plain[place] == name)
    understood = (place for place in free if ALIASES.get(plain[place]) == name)
    return next((place for way in (exact, own, understood) for place in way), None)


def check_columns(columns: Sequence[str], needed: Sequence[str], mapping: Mapping[str, str]) -> None:
    """Raises InputError, naming the columns there are, if a needed field or a column that somebody named is missing."""
    for field, column in mapping.items():
        if column and column not in columns:
            raise InputError(f"the file has no column {column} (--map {field}={column}); {there_are(columns)}")
    missing = [name for name in needed if find_column(columns, name, mapping) is None]
    if missing:
        hint = ",".join(f"{name}=…" for name in missing)
        raise InputError(
            f"the file has no column {' and none '.join(missing)}; {there_are(columns)}; name them with --map {hint}, "
            "or all of them with --columns if the file has no header"
        )


def there_are(columns: Sequence[str]) -> str:
    """The columns of a file, for a message."""
    shown = ", ".join(column[:80] for column in columns[:_SHOWN_COLUMNS])
    more = len(columns) - _SHOWN_COLUMNS
    return f"it has {shown}{f' and {more} more' if more > 0 else ''}"


@dataclass(frozen=True, slots=True)
class Condition:
    """Only rows in which a column has (or has not) this value are taken; numbers are compared as numbers."""

    column: str
    value: str
    is_equal: bool = True

    def holds(self, cell: object) -> bool:
        """Whether a cell satisfies it."""
        return _same(cell, self.value) is self.is_equal


def condition_of(text: str) -> Condition:
    """`column=value` or `column!=value`. Raises InputError for anything else."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip("! "):
        raise InputError("--where takes column=value or column!=value")
    return Condition(name.removesuffix("!").strip(), value.strip(), not name.endswith("!"))


def _same(cell: object, value: str) -> bool:
    text = "" if cell is None else str(cell).strip()
    if isinstance(cell, bool):
        return text.lower() == value.lower()
    if text == value:
        return True
    try:
        return float(text) == float(value)
    except ValueError:
        return False


def wanted(batch: RowBatch, conditions: Sequence[Condition], *, is_first: bool) -> RowBatch:
    """The rows in which every condition holds. Raises InputError for a column that the file does not have."""
    if not conditions or not batch.rows:
        return batch
    if is_first:
        for one in conditions:
            if one.column not in batch.columns:
                raise InputError(f"the file has no column {one.column} (--where); {there_are(batch.columns)}")
    checks = [(batch.columns.index(one.column) if one.column in batch.columns else None, one) for one in conditions]
    kept = [
        place
        for place, row in enumerate(batch.rows)
        if all(one.holds(None if column is None else row[column]) for column, one in checks)
    ]
    rows, lines = [batch.rows[place] for place in kept], [batch.lines[place] for place in kept]
    return RowBatch(batch.columns, rows, lines, batch.broken)
