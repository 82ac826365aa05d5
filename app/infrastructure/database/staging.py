"""The temporary tables of an ingest: a batch is put down once and then worked on by set-based SQL."""

from __future__ import annotations

import sqlalchemy as sa

from app.infrastructure.database.columns import Id, UtcDateTime, Uuid16

temporary = sa.MetaData()


def _columns() -> list[sa.Column[object]]:
    columns: list[sa.Column[object]] = [
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("event_id", Uuid16, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("item_id", Id, nullable=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("occurred_at", UtcDateTime, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("duration", sa.Double),
        sa.Column("device", sa.Text),
        sa.Column("is_alone", sa.Boolean, nullable=False),
    ]
    return columns


staged = sa.Table("staged", temporary, *_columns(), prefixes=["TEMPORARY"], postgresql_on_commit="DELETE ROWS")
repeated = sa.Table("repeated", temporary, *_columns(), prefixes=["TEMPORARY"], postgresql_on_commit="DELETE ROWS")
resolved = sa.Table(  # staged rows that are new, with the keys of their user and item once those have one
    "resolved",
    temporary,
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("item_id", Id, nullable=False),
    sa.Column("user_key", sa.BigInteger),
    sa.Column("item_key", sa.BigInteger),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("slot", sa.SmallInteger, nullable=False),
    sa.Column("strength", sa.Double, nullable=False),
    sa.Column("is_alone", sa.Boolean, nullable=False),
    sa.Column("occurred_at", UtcDateTime, nullable=False),
    sa.Column("event_id", Uuid16, nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("duration", sa.Double),
    sa.Column("device", sa.Text),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)

CREATE: tuple[sa.Executable, ...] = tuple(
    sa.schema.CreateTable(table, if_not_exists=True) for table in temporary.sorted_tables
)
EMPTY: tuple[sa.Executable, ...] = tuple(sa.delete(table) for table in temporary.sorted_tables)
