"""Catalog entries as rows and back, and the upsert that lets the newest win."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from app.domain.entities import Item, User
from app.domain.exceptions import InputError
from app.infrastructure.database.dialects import Insert
from app.infrastructure.database.json_text import dump_json
from app.infrastructure.database.tables import items, users

ITEM_COLUMNS = tuple(items.c[field.name] for field in fields(Item))
USER_COLUMNS = tuple(users.c[field.name] for field in fields(User))
_TUPLES = ("genres", "tags")
_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in (Item, User)}
_MOMENTS: Mapping[type, tuple[str, ...]] = {
    Item: ("updated_at", "published_at", "available_from", "available_until"),
    User: ("updated_at",),
}
_NUL, _BACKSLASH = r"\u0000", r"\\"  # as JSON spells them
_UNFIT = "text with NUL or lone surrogates, and numbers that are none, cannot be stored"
Entry = TypeVar("Entry", Item, User)


def item_row(item: Item) -> dict[str, object]:
    """All columns of an item but the revision."""
    return {**_row(item), "removed": False}


def tombstone_row(item_id: str, at: datetime) -> dict[str, object]:
    """What is left of a removed item: enough to win against older upserts."""
    return {**_row(Item(item_id, at)), "removed": True, "fingerprint": "removed"}


def user_row(user: User) -> dict[str, object]:
    """All columns of a user."""
    return _row(user)


def item_of(row: RowMapping) -> Item:
    """The item in a row that has at least ITEM_COLUMNS."""
    values: dict[str, Any] = {column.name: row[column.name] for column in ITEM_COLUMNS}
    return Item(**{**values, "genres": tuple(values["genres"]), "tags": tuple(values["tags"])})


def newest(entries: Iterable[Entry], id_of: Callable[[Entry], str]) -> Sequence[Entry]:
    """One entry per id: the newest by `updated_at`, the later of two equals; sorted by id against deadlocks."""
    best: dict[str, Entry] = {}
    for entry in entries:
        known = best.get(id_of(entry))
        if known is None or entry.updated_at >= known.updated_at:
            best[id_of(entry)] = entry
    return [best[entry_id] for entry_id in sorted(best)]


def newest_wins(insert: Insert, table: sa.Table, id_column: str) -> Insert:
    """Upsert unless a newer one is stored, or the same one with the same content."""
    new, old = insert.excluded, table.c
    is_new = new["updated_at"] > old["updated_at"]
    is_other = (new["updated_at"] == old["updated_at"]) & (new["fingerprint"] != old["fingerprint"])
    written = {column.name for column in table.c if not column.primary_key and column.name != id_column}
    return insert.on_conflict_do_update(
        index_elements=[table.c[id_column]],
        set_={name: new[name] for name in sorted(written)},
        where=old["updated_at"].is_(None) | is_new | is_other,
    )


def _row(entry: Item | User) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(entry, name) for name in _NAMES[type(entry)]}
    for name in _TUPLES:
        if name in values:
            values[name] = list(getattr(entry, name))
    content = dict(values)
    for name in _MOMENTS[type(entry)]:
        if values[name] is not None:
            content[name] = str(values[name])
    values["fingerprint"] = _fingerprint(content)
    return values


def _fingerprint(content: Mapping[str, object]) -> str:
    """A digest of what is written. Raises InputError for what PostgreSQL could not hold, also on SQLite."""
    try:
        text = dump_json(content)
        digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    except ValueError as exc:  # lone surrogates, NaN
        raise InputError(_UNFIT) from exc
    if _NUL in text and _NUL in text.replace(_BACKSLASH, ""):
        raise InputError(_UNFIT)
    return digest
