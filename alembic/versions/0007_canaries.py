"""Canaries: candidates that take a growing share of users.

Revision: 0007, after 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.infrastructure.database.columns import Id, UtcDateTime
from app.infrastructure.database.schema_definition import schema

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    own = schema("training", op.get_bind().dialect.name)
    op.create_table(
        "canaries",
        sa.Column("model_id", Id, nullable=False),
        sa.Column("model_type", sa.Text, nullable=False),
        sa.Column("champion_id", sa.Text, nullable=False),
        sa.Column("steps", sa.JSON, nullable=False),
        sa.Column("hours", sa.Double, nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("step_started_at", UtcDateTime, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("figures", sa.JSON, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("model_id", name="pk_canaries"),
        schema=own,
    )
    running = sa.text("status = 'running'")
    op.create_index(
        "uq_canaries_running",
        "canaries",
        ["model_type"],
        unique=True,
        schema=own,
        sqlite_where=running,
        postgresql_where=running,
    )


def downgrade() -> None:
    op.drop_table("canaries", schema=schema("training", op.get_bind().dialect.name))
