"""Figures worked out by the clock.

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.infrastructure.database.columns import UtcDateTime
from app.infrastructure.database.schema_definition import schema

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reports",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("slot", UtcDateTime, nullable=False),
        sa.Column("claimed_at", UtcDateTime, nullable=False),
        sa.Column("made_at", UtcDateTime),
        sa.Column("model_id", sa.Text),
        sa.Column("figures", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("name", "slot", name="pk_reports"),
        schema=schema("training", op.get_bind().dialect.name),
    )


def downgrade() -> None:
    op.drop_table("reports", schema=schema("training", op.get_bind().dialect.name))
