"""The store of record, on SQLAlchemy: SQLite by default, PostgreSQL in production, one code."""

from __future__ import annotations

from app.infrastructure.database.sql_database import open_database

__all__ = ["open_database"]
