"""Column types that mean the same on every dialect."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Microseconds since 1970; exact, where `timestamp()` would round."""
    return (moment - EPOCH) // _MICROSECOND


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware UTC moment: `timestamptz` on PostgreSQL, integer microseconds since 1970 on SQLite.

    SQLite has no time type and SQLAlchemy's text form gives naive values back; an integer is exact, small, sorts
    rightly and needs no parsing. Naive datetimes are a programming error and raise ValueError.
    """

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.DateTime(timezone=True))
        return dialect.type_descriptor(sa.BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | int | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetimes are not stored")
        return value if dialect.name == "postgresql" else micros(value)

    def process_result_value(self, value: datetime | int | None, dialect: Dialect) -> datetime | None:
        if isinstance(value, int):
            return EPOCH + timedelta(microseconds=value)
        return value.astimezone(UTC) if value is not None else None


class Uuid16(TypeDecorator[UUID]):
    """A UUID: `uuid` on PostgreSQL, 16 bytes on SQLite. Both order them bytewise, as Python does."""

    impl = sa.LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=True))
        return dialect.type_descriptor(sa.LargeBinary(16))

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> UUID | bytes | None:
        return value if value is None or dialect.name == "postgresql" else value.bytes

    def process_result_value(self, value: UUID | bytes | None, dialect: Dialect) -> UUID | None:
        return UUID(bytes=value) if isinstance(value, bytes) else value


Id = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""External text ids, compared bytewise everywhere: the order of pages must not depend on the server's locale."""

Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""Internal integer keys; SQLite numbers only a column of type INTEGER by itself."""
