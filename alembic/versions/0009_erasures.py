"""Erasures, and graves in place of tombstones: erased people are remembered without their names.

`tombstones` stays, for processes of older versions; what they write to it is turned into graves every night.

Revision: 0009, after 0008.
"""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op

from app.infrastructure.database.columns import EPOCH, Id, UtcDateTime
from app.infrastructure.database.schema_definition import schema

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_PIECE = 5_000


def upgrade() -> None:
    own = schema("features", op.get_bind().dialect.name)
    op.create_table(
        "graves",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("pseudonym", sa.LargeBinary),
        sa.Column("erased_at", UtcDateTime, nullable=False),
        sa.Column("until", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_graves"),
        schema=own,
        sqlite_with_rowid=False,
    )
    for column in ("pseudonym", "erased_at"):
        op.create_index(f"ix_graves_{column}", "graves", [column], schema=own)
    op.create_table(
        "erasures",
        sa.Column("erasure_id", Id, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("requested_at", UtcDateTime, nullable=False),
        sa.Column("until", UtcDateTime, nullable=False),
        sa.Column("user_ids", sa.JSON, nullable=False),
        sa.Column("people", sa.Integer, nullable=False),
        sa.Column("people_sha256", sa.Text, nullable=False),
        sa.Column("removed", sa.Integer, nullable=False),
        sa.Column("findings", sa.JSON, nullable=False),
        sa.Column("certificate", sa.JSON),
        sa.Column("certificate_sha256", sa.Text),
        sa.Column("claimed_until", UtcDateTime),
        sa.Column("finished_at", UtcDateTime),
        sa.PrimaryKeyConstraint("erasure_id", name="pk_erasures"),
        schema=own,
    )
    waiting = sa.text("finished_at IS NULL")
    op.create_index(
        "ix_erasures_waiting",
        "erasures",
        ["requested_at"],
        schema=own,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    _copy_tombstones(own)


def _copy_tombstones(own: str | None) -> None:
    tombstones = sa.table("tombstones", sa.column("user_id", Id), sa.column("until", UtcDateTime), schema=own)
    graves = sa.table(
        "graves",
        sa.column("digest", sa.LargeBinary),
        sa.column("erased_at", UtcDateTime),
        sa.column("until", UtcDateTime),
        schema=own,
    )
    found = op.get_bind().execute(sa.select(tombstones)).all()
    rows = [
        {"digest": hashlib.sha256(user_id.encode()).digest(), "erased_at": EPOCH, "until": until}
        for user_id, until in found
    ]
    for start in range(0, len(rows), _PIECE):
        op.bulk_insert(graves, rows[start : start + _PIECE])


def downgrade() -> None:
    own = schema("features", op.get_bind().dialect.name)
    op.drop_table("erasures", schema=own)
    op.drop_table("graves", schema=own)
