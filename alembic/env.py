"""Alembic's entry: run on the connection it was given, or (from the `alembic` command) on the settings' database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from app.config import load_settings
from app.infrastructure.database.migrate import run_on_database
from app.infrastructure.database.schema_definition import is_ours, target_metadata


def run(connection: sa.Connection) -> None:
    """All migrations that were asked for, in the transaction the connection is in."""
    context.configure(
        connection=connection,
        target_metadata=target_metadata(connection.dialect.name),
        include_object=is_ours,
        include_schemas=connection.dialect.name == "postgresql",
        compare_type=True,
    )
    context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    run_on_database(load_settings().database_url, run)
