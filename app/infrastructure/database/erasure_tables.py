"""The tables of erasures; the others, and what holds for all, are in `tables`."""

from __future__ import annotations

import sqlalchemy as sa

from app.infrastructure.database.columns import Id, UtcDateTime
from app.infrastructure.database.tables import metadata

graves = sa.Table(  # erased people, without their names: what occurred up to `until` is never taken in again
    "graves",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("pseudonym", sa.LargeBinary, index=True),
    sa.Column("erased_at", UtcDateTime, nullable=False, index=True),
    sa.Column("until", UtcDateTime, nullable=False),
    schema="features",
    sqlite_with_rowid=False,
)

erasures = sa.Table(  # `user_ids` is empty once `finished_at` is set
    "erasures",
    metadata,
    sa.Column("erasure_id", Id, primary_key=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime, nullable=False),
    sa.Column("user_ids", sa.JSON, nullable=False),
    sa.Column("people", sa.Integer, nullable=False),
    sa.Column("people_sha256", sa.Text, nullable=False),
    sa.Column("removed", sa.Integer, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("certificate", sa.JSON(none_as_null=True)),
    sa.Column("certificate_sha256", sa.Text),
    sa.Column("claimed_until", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    schema="features",
)
_waiting = erasures.c.finished_at.is_(None)
sa.Index("ix_erasures_waiting", erasures.c.requested_at, sqlite_where=_waiting, postgresql_where=_waiting)
