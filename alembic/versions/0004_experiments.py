"""Experiments and the request log.

Revision: 0004, after 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.infrastructure.database.columns import Key, UtcDateTime
from app.infrastructure.database.schema_definition import schema

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = {"experiments": ("status",), "request_log": ("request_id", "at", "user", "experiment_id")}


def upgrade() -> None:
    own = schema("experiments", op.get_bind().dialect.name)
    op.create_table(
        "experiments",
        sa.Column("experiment_id", sa.Text, nullable=False),
        sa.Column("layer", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", name="pk_experiments"),
        schema=own,
    )
    op.create_table(
        "request_log",
        sa.Column("sequence", Key, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("user", sa.LargeBinary),
        sa.Column("surface", sa.Text, nullable=False),
        sa.Column("model_id", sa.Text),
        sa.Column("model_version", sa.Integer),
        sa.Column("experiment_id", sa.Text),
        sa.Column("variant", sa.Text),
        sa.Column("is_preview", sa.Boolean, nullable=False),
        sa.Column("fallback_reason", sa.Text),
        sa.Column("from_cache", sa.Boolean, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("items", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_request_log"),
        schema=own,
    )
    for table, columns in INDEXES.items():
        for column in columns:
            op.create_index(f"ix_{table}_{column}", table, [column], schema=own)


def downgrade() -> None:
    own = schema("experiments", op.get_bind().dialect.name)
    op.drop_table("request_log", schema=own)
    op.drop_table("experiments", schema=own)
