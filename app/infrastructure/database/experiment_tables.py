"""The tables of experiments and of the request log; the others, and what holds for all, are in `tables`."""

from __future__ import annotations

import sqlalchemy as sa

from app.infrastructure.database.columns import Key, UtcDateTime
from app.infrastructure.database.tables import metadata

experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("experiment_id", sa.Text, primary_key=True),
    sa.Column("layer", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("document", sa.JSON, nullable=False),
    schema="experiments",
)

request_log = sa.Table(
    "request_log",
    metadata,
    sa.Column("sequence", Key, primary_key=True),
    sa.Column("request_id", sa.Text, nullable=False, index=True),
    sa.Column("at", UtcDateTime, nullable=False, index=True),
    sa.Column("user", sa.LargeBinary, index=True),
    sa.Column("surface", sa.Text, nullable=False),
    sa.Column("model_id", sa.Text),
    sa.Column("model_version", sa.Integer),
    sa.Column("experiment_id", sa.Text, index=True),
    sa.Column("variant", sa.Text),
    sa.Column("is_preview", sa.Boolean, nullable=False),
    sa.Column("fallback_reason", sa.Text),
    sa.Column("from_cache", sa.Boolean, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("items", sa.Text, nullable=False),
    schema="experiments",
)
