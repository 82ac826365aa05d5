"""The store of record, on SQLAlchemy: SQLite by default, PostgreSQL in production, one code."""
