"""The audit log says where an act came from; the version of the hash says whether that is in it.

Revision: 0008, after 0007. Rows that are there, and those that an older process still writes, are of version 1.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.infrastructure.database.schema_definition import schema

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    where = schema("audit", op.get_bind().dialect.name)
    op.add_column("audit_log", sa.Column("version", sa.Integer, nullable=False, server_default="1"), schema=where)
    for name in ("key_id", "address", "request_id"):
        op.add_column("audit_log", sa.Column(name, sa.Text), schema=where)


def downgrade() -> None:
    where = schema("audit", op.get_bind().dialect.name)
    for name in ("request_id", "address", "key_id", "version"):
        op.drop_column("audit_log", name, schema=where)
