"""Driver errors → domain errors, in one place, most specific first."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc as sa_exc

from app.domain.exceptions import ConflictError, DatabaseUnavailableError, InputError

_TRANSIENT_STATES = ("08", "25P03", "40", "53", "55", "57", "58", "XX000")
"""SQLSTATE classes after which trying again may work: connection, idle too long, rollback, resources, locks, shutdown
and cancellation, system. https://www.postgresql.org/docs/current/errcodes-appendix.html"""
_NO_TABLE_STATES = ("42P01", "3F000")
_NO_TABLES = "the database has no tables yet, or old ones: run `encore migrate`"
_BROKEN = "the database refused, is locked or broke off"
_SILENT = "the database did not answer"
_UNFIT = "the database cannot hold one of the values"
_REFUSED = "the database refused a value that must be unique or must exist"


@contextmanager
def translated() -> Iterator[None]:
    """Run driver calls; what the driver raises leaves as one of our errors, or as it is if it is a bug of ours."""
    try:
        yield
    except sa_exc.TimeoutError as exc:
        raise DatabaseUnavailableError("no database connection became free in time") from exc
    except sa_exc.DBAPIError as exc:
        error = _of_sqlalchemy(exc)
        if error is None:
            raise
        raise error from exc
    except sqlite3.DatabaseError as exc:  # reads that go past SQLAlchemy
        if isinstance(exc, sqlite3.ProgrammingError):
            raise
        raise DatabaseUnavailableError(_NO_TABLES if "no such table" in str(exc) else _BROKEN) from exc
    except (UnicodeEncodeError, OverflowError) as exc:  # sqlite3 refuses lone surrogates and integers beyond 64 bits so
        raise InputError(_UNFIT) from exc
    except OSError as exc:  # includes TimeoutError: asyncpg's own deadline, and a refused connection
        raise DatabaseUnavailableError(_SILENT) from exc
    except Exception as exc:
        error = _of_asyncpg(exc)
        if error is None:
            raise
        raise error from exc


def _of_sqlalchemy(exc: sa_exc.DBAPIError) -> Exception | None:
    if "no such table" in str(exc.orig):
        return DatabaseUnavailableError(_NO_TABLES)
    if exc.connection_invalidated:
        return DatabaseUnavailableError(_BROKEN)
    by_state = _of_state(str(getattr(exc.orig, "sqlstate", None) or ""))
    if by_state is not None:
        return by_state
    if isinstance(exc, sa_exc.IntegrityError):
        return ConflictError(_REFUSED)
    if isinstance(exc, sa_exc.DataError):
        return InputError(_UNFIT)
    if isinstance(exc, sa_exc.OperationalError | sa_exc.InterfaceError):
        return DatabaseUnavailableError(_BROKEN)
    return None


def _of_asyncpg(exc: Exception) -> Exception | None:
    """COPY goes past SQLAlchemy, straight to the driver. By name: the driver may not be installed."""
    if not type(exc).__module__.startswith("asyncpg."):
        return None
    by_state = _of_state(str(getattr(exc, "sqlstate", None) or ""))
    if by_state is None and type(exc).__name__ in {"InterfaceError", "InternalClientError"}:
        return DatabaseUnavailableError(_BROKEN)
    return by_state


def _of_state(state: str) -> Exception | None:
    if state in _NO_TABLE_STATES:
        return DatabaseUnavailableError(_NO_TABLES)
    if state.startswith("22"):
        return InputError(_UNFIT)
    if state.startswith("23"):
        return ConflictError(_REFUSED)
    if state.startswith(_TRANSIENT_STATES):
        return DatabaseUnavailableError(_BROKEN)
    return None
