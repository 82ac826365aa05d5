"""Everything that differs between SQLite and PostgreSQL, and nothing else: the rest of the package is one code."""

from __future__ import annotations

from app.infrastructure.database.dialects.base import Dialect, Insert, StagedColumns, TimeRange
from app.infrastructure.database.dialects.choose import choose_dialect

__all__ = ["Dialect", "Insert", "StagedColumns", "TimeRange", "choose_dialect"]
