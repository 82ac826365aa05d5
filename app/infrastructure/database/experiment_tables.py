"""The tables of experiments, canaries and the request log; the others, and what holds for all, are in `tables`."""

from __future__ import annotations

import sqlalchemy as sa

from app.infrastructure.database.columns import Id, Key, UtcDateTime
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

canaries = sa.Table(  # candidates that take a share of users: the newest canary of each model
    "canaries",
    metadata,
    sa.Column("model_id", Id, primary_key=True),
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
    schema="training",
)
_running = canaries.c.status == "running"
sa.Index(  # one at a time: the database itself refuses a second one
    "uq_canaries_running", canaries.c.model_type, unique=True, sqlite_where=_running, postgresql_where=_running
)
