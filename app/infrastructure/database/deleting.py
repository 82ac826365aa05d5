"""Deleting many rows, a piece at a time: no statement runs into its timeout, and nobody waits long for the lock."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.infrastructure.database.connections import Connections

PIECE_ROWS = 5_000


async def delete_in_pieces(
    connections: Connections, table: sa.Table, key: sa.Column[Any], which: sa.ColumnElement[bool]
) -> int:
    """Delete the rows of `which`, by ascending `key`; returns how many went. Each piece is a transaction."""
    piece = sa.select(key).where(which).order_by(key).limit(PIECE_ROWS).scalar_subquery()
    gone = 0
    while True:
        async with connections.write() as connection:
            deleted = (await connection.execute(sa.delete(table).where(key.in_(piece)))).rowcount
        gone += deleted
        if deleted < PIECE_ROWS:
            return gone
