"""From a URL to its dialect; the driver of the other one is never imported."""

from __future__ import annotations

from importlib.util import find_spec
from ssl import SSLContext

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.domain.exceptions import ConfigurationError
from app.infrastructure.client_tls import OPTIONS, take_tls_files
from app.infrastructure.database.dialects.base import Dialect

SETTING = "ENCORE_DATABASE_URL"


def parse_url(url: str) -> URL:
    """The URL's parts. Raises ConfigurationError, which never shows the URL: it may hold a password."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as exc:
        raise ConfigurationError(SETTING, "is not a database URL") from exc


def choose_dialect(url: str, *, pool_size: int, timeout_seconds: float) -> Dialect:
    """The dialect of a URL, with its engines made but nothing connected yet."""
    parts = parse_url(url)
    match parts.drivername:
        case "sqlite+aiosqlite":
            from app.infrastructure.database.dialects.sqlite import SqliteDialect

            if parts.database in {None, "", ":memory:"}:
                raise ConfigurationError(
                    SETTING, "SQLite needs a file: readers and the writer are separate connections"
                )
            return SqliteDialect(parts, pool_size=pool_size, timeout_seconds=timeout_seconds)
        case "postgresql+asyncpg":
            if find_spec("asyncpg") is None:
                raise ConfigurationError(SETTING, "PostgreSQL needs the extra `postgres`")
            from app.infrastructure.database.dialects.postgresql import PostgresDialect

            parts, tls = _with_tls(parts)
            return PostgresDialect(parts, pool_size=pool_size, timeout_seconds=timeout_seconds, tls=tls)
        case _:
            raise ConfigurationError(SETTING, "must start with sqlite+aiosqlite:// or postgresql+asyncpg://")


def _with_tls(parts: URL) -> tuple[URL, SSLContext | None]:
    """What the driver takes, and how to know the server: `tls=verify`, and `ca`, `cert` and `key` which imply it.

    Without any of them the driver's own `ssl=` counts; its default takes TLS where it is offered, and verifies nothing.
    """
    options = {name: str(parts.query[name]) for name in ("tls", *OPTIONS) if name in parts.query}
    wanted = options.pop("tls", None)
    files = take_tls_files(options, SETTING, is_tls=True)
    if wanted not in (None, "verify") or ((wanted or files) and "ssl" in parts.query):
        raise ConfigurationError(SETTING, "takes tls=verify, or the driver's own ssl=, not both and nothing else")
    secure = files.context(SETTING) if wanted or files else None
    return parts.difference_update_query(("tls", *OPTIONS)), secure
