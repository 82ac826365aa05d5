"""Driver errors → domain errors, in one place, most specific first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc as sa_exc

from app.domain.exceptions import ConflictError, DatabaseUnavailableError, InputError

_TRANSIENT_STATES = ("08", "53", "55", "57", "58", "40", "25P03", "XX000")
"""SQLSTATE classes after which trying again may work: connection, resources, locks, shutdown, system, rollback.
https://www.postgresql.org/docs/current/errcodes-appendix.html"""
_NO_TABLE_STATES = frozenset({"42P01", "3F000"})


@contextmanager
def translated() -> Iterator[None]:
    """Run driver calls; whatever the driver raises leaves as one of our errors, or as a bug if it is one."""
    try:
        yield
    except sa_exc.IntegrityError as exc:
        raise ConflictError("the database refused a value that must be unique or must exist") from exc
    except sa_exc.DataError as exc:
        raise InputError("the database cannot hold one of the values") from exc
    except sa_exc.TimeoutError as exc:
        raise DatabaseUnavailableError("no database connection became free in time") from exc
    except sa_exc.DBAPIError as exc:
        raise _translate(exc) from exc
    except (UnicodeEncodeError, OverflowError) as exc:  # sqlite3 refuses lone surrogates and integers beyond 64 bits so
        raise InputError("the database cannot hold one of the values") from exc
    except OSError as exc:  # includes TimeoutError: asyncpg's own deadline, and a refused connection
        raise DatabaseUnavailableError("the database did not answer") from exc


def _translate(exc: sa_exc.DBAPIError) -> Exception:
    state = _sqlstate(exc)
    if state in _NO_TABLE_STATES or "no such table" in str(exc.orig):
        return DatabaseUnavailableError("the database has no tables yet, or old ones: run `encore migrate`")
    if state.startswith("22") or (exc.orig is not None and _is_encoding_error(exc.orig)):
        return InputError("the database cannot hold one of the values")
    if exc.connection_invalidated or state.startswith(_TRANSIENT_STATES):
        return DatabaseUnavailableError("the database broke off")
    if isinstance(exc, (sa_exc.OperationalError, sa_exc.InterfaceError)):
        return DatabaseUnavailableError("the database refused or is locked")
    return exc


def _sqlstate(exc: sa_exc.DBAPIError) -> str:
    return str(getattr(exc.orig, "sqlstate", None) or "")


def _is_encoding_error(error: BaseException) -> bool:
    """asyncpg reports a value it cannot encode as an interface error that is a ValueError too."""
    cause = error.__cause__
    return isinstance(cause, ValueError) or isinstance(error, ValueError)
