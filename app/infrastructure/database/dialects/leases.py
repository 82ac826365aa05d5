"""Connections of a pool, given back or closed however often their user is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util.concurrency import await_only, in_greenlet

from app.infrastructure.uninterrupted import uninterrupted

_LOOK_SECONDS = 0.005
_PLACES: WeakKeyDictionary[sa.Pool, asyncio.Semaphore] = WeakKeyDictionary()


@asynccontextmanager
async def leased(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for this block. Taking it is not interrupted: it may be a new one, and SQLAlchemy forgets what it
    connects, or sets up, when it is cancelled in the midst of it. The pool's and the driver's timeouts bound the wait.
    """
    async with _place(engine):
        connection = engine.connect()
        try:
            await uninterrupted(connection.start())
            yield connection
        finally:
            if connection.sync_connection is not None:
                await uninterrupted(connection.close())


@asynccontextmanager
async def _place(engine: AsyncEngine) -> AsyncIterator[None]:
    """Wait here for a connection to become free: whoever is cancelled meanwhile leaves at once, and takes none."""
    pool = engine.pool
    assert isinstance(pool, sa.QueuePool), "engines are made with a bound"
    places = _PLACES.setdefault(pool, asyncio.Semaphore(pool.size()))
    try:
        async with asyncio.timeout(pool.timeout()):
            await places.acquire()
    except TimeoutError as exc:
        raise sa.exc.TimeoutError("no connection became free in time") from exc
    try:
        yield
    finally:
        places.release()


async def dispose(engine: AsyncEngine, timeout_seconds: float) -> None:
    """Close the pool when every connection is back: one that comes later would stay open."""
    pool, deadline = engine.pool, time.monotonic() + timeout_seconds
    while isinstance(pool, sa.QueuePool) and pool.checkedout() and time.monotonic() < deadline:  # noqa: ASYNC110 - no event
        await asyncio.sleep(_LOOK_SECONDS)
    await engine.dispose()


def closes_whole(engine: AsyncEngine, close: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """Have `close` end the driver's connection before SQLAlchemy does so to one whose statement was cancelled.

    SQLAlchemy closes it too, but leaves that half done when it is cancelled once more.
    """

    def before(connection: DBAPIConnection, _record: object, _exc: BaseException | None) -> None:
        if in_greenlet():
            with contextlib.suppress(asyncio.CancelledError):  # there is one on its way already
                await_only(uninterrupted(close(connection.driver_connection)))

    sa.event.listen(engine.sync_engine, "invalidate", before)
