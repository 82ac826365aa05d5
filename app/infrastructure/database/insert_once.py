"""INSERT for rows that may come again: what is there already, by any unique key, is left alone."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def insert_once(connection: AsyncConnection, table: sa.Table) -> sa.Insert:
    """The statement for this connection's dialect. Both spell it alike; SQLAlchemy has one class for each."""
    build = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return build(table).on_conflict_do_nothing()
