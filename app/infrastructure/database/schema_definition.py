"""What the tables should look like on a dialect, and what in a database is not ours to compare."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.schema import SchemaItem

from app.infrastructure.database import (  # noqa: F401  # their tables belong to the metadata
    audit_table,
    erasure_tables,
    experiment_tables,
)
from app.infrastructure.database.tables import SCHEMAS, metadata

_PARTITION = re.compile(r"interactions_(default|\d{6})$")


def schema(name: str, dialect_name: str) -> str | None:
    """The schema of a table; SQLite has none."""
    return name if dialect_name == "postgresql" else None


def target_metadata(dialect_name: str) -> sa.MetaData:
    """The definitions of tables.py as this dialect has them."""
    target = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(
            target,
            schema=schema(str(table.schema), dialect_name),  # type: ignore[arg-type]  # None works: no schema
            referred_schema_fn=lambda _t, _to, _fk, name: _referred(str(name), dialect_name),
        )
    return target


def _referred(name: str, dialect_name: str) -> Any:  # BLANK_SCHEMA is what works; the signature says str | None
    return schema(name, dialect_name) or sa.BLANK_SCHEMA


def is_ours(thing: SchemaItem, name: str | None, type_: str, reflected: bool, _compare_to: SchemaItem | None) -> bool:
    """Partitions come and go by month, and other schemas belong to others."""
    if type_ == "table" and isinstance(thing, sa.Table):
        is_foreign = reflected and thing.schema is not None and thing.schema not in SCHEMAS
        return not is_foreign and not _PARTITION.match(name or "")
    return True
