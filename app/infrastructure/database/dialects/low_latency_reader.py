"""Small reads of an SQLite file in one hop to a thread: what somebody waits for.

SQLAlchemy on aiosqlite crosses to the connection's thread and back five times for a statement, and looks at each value
of each row; for a history of 200 rows that costs more than the reading.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.domain.exceptions import DatabaseUnavailableError
from app.infrastructure.uninterrupted import BlockingCalls

Row = tuple[object, ...]

_CLOSE_SECONDS = 60.0
"""For small reads: what takes longer is stuck in the file system."""


class LowLatencyReader:
    """A few threads with a connection each. What waits for them is bounded by the places for requests (Admission)."""

    def __init__(self, path: str, *, threads: int, timeout_seconds: float) -> None:
        self._path = path
        self._timeout = timeout_seconds
        self._threads = BlockingCalls(threads, "swift")
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._is_closed = False

    async def rows(self, sql: str, parameters: Mapping[str, object]) -> Sequence[Row]:
        """All rows, values as SQLite has them. Raises sqlite3.Error, DatabaseUnavailableError after `close`."""
        if self._is_closed:
            raise DatabaseUnavailableError("the database is closed")
        return await self._threads.run(self._rows, sql, parameters)

    def _rows(self, sql: str, parameters: Mapping[str, object]) -> Sequence[Row]:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._open()
        return connection.execute(sql, parameters).fetchall()

    def _open(self) -> sqlite3.Connection:
        uri = f"{Path(self._path).absolute().as_uri()}?mode=rw"  # a reader of a WAL file writes its index
        connection = sqlite3.connect(
            uri, uri=True, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )  # used by one thread, closed by another
        connection.execute("PRAGMA query_only = ON")
        self._opened.append(connection)
        return connection

    async def close(self) -> None:
        """Wait for what is being read, then let go of the file."""
        self._is_closed = True
        await self._threads.close(_CLOSE_SECONDS)
        for connection in self._opened:
            connection.close()
        self._opened.clear()
