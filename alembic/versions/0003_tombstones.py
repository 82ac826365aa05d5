"""Erased users stay erased.

Revision: 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.infrastructure.database.columns import Id, UtcDateTime
from app.infrastructure.database.schema_definition import schema

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tombstones",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("until", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_tombstones"),
        schema=schema("features", op.get_bind().dialect.name),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("tombstones", schema=schema("features", op.get_bind().dialect.name))
