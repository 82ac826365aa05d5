"""Imports, and which interactions each of them added.

Revision: 0005, after 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.infrastructure.database.columns import Id, UtcDateTime
from app.infrastructure.database.schema_definition import schema

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    name = schema("features", op.get_bind().dialect.name)
    op.create_table(
        "imports",
        sa.Column("import_id", Id, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("files", sa.JSON, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("undone_at", UtcDateTime),
        sa.PrimaryKeyConstraint("import_id", name="pk_imports"),
        schema=name,
    )
    op.create_table(
        "import_ranges",
        sa.Column("import_id", Id, nullable=False),
        sa.Column("first_sequence", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("import_id", "first_sequence", name="pk_import_ranges"),
        schema=name,
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    name = schema("features", op.get_bind().dialect.name)
    op.drop_table("import_ranges", schema=name)
    op.drop_table("imports", schema=name)
