"""The audit log, and triggers that refuse to change or to remove its rows.

Revision: 0006, after 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.infrastructure.database.columns import UtcDateTime
from app.infrastructure.database.schema_definition import schema

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_REFUSE = (
    "CREATE FUNCTION audit.refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'rows of the audit log are never changed'; END $$"
)
_POSTGRES_TRIGGER = (
    "CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.audit_log"
    " FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()"
)
_SQLITE_TRIGGER = (
    "CREATE TRIGGER audit_log_no_{act} BEFORE {act} ON audit_log"
    " BEGIN SELECT RAISE(ABORT, 'rows of the audit log are never changed'); END"
)


def upgrade() -> None:
    is_postgres = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "audit_log",
        sa.Column("sequence", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("act_id", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit_log"),
        schema=schema("audit", op.get_bind().dialect.name),
        sqlite_with_rowid=False,
    )
    triggers = (
        (_REFUSE, _POSTGRES_TRIGGER)
        if is_postgres
        else (_SQLITE_TRIGGER.format(act="update"), _SQLITE_TRIGGER.format(act="delete"))
    )
    for statement in triggers:
        op.execute(statement)


def downgrade() -> None:
    is_postgres = op.get_bind().dialect.name == "postgresql"
    op.drop_table("audit_log", schema=schema("audit", op.get_bind().dialect.name))
    if is_postgres:
        op.execute("DROP FUNCTION audit.refuse_change()")
