"""From raw rows to EventColumns: keys become positions, rows are put in order. NumPy, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from app.domain.entities import EventColumns


async def assemble(raw: NDArray[np.void], user_ids: Mapping[int, str], item_ids: Mapping[int, str]) -> EventColumns:
    """Columns of `raw` (dtype RAW_COLUMNS), sorted by (user, occurred_at, event_id), positions by external id.

    Rows whose user has been erased since they were read are left out.
    """
    return await asyncio.to_thread(_assemble, raw, user_ids, item_ids)


def _assemble(raw: NDArray[np.void], user_ids: Mapping[int, str], item_ids: Mapping[int, str]) -> EventColumns:
    users, user = _positions(raw["user_key"], user_ids)
    items, item = _positions(raw["item_key"], item_ids)
    order = _order(user, raw["micros"], raw["event_id"])
    order = order[(user[order] >= 0) & (item[order] >= 0)]
    return EventColumns(
        users,
        items,
        user[order],
        item[order],
        raw["kind"][order].astype(np.int8),
        raw["value"][order].astype(np.float32),
        raw["duration"][order].astype(np.float32),
        raw["micros"][order] / 1e6,
    )


def _positions(keys: NDArray[np.int64], names: Mapping[int, str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """(ids in use, sorted; position of each row's id, int32, -1 where the id is gone)."""
    distinct, inverse = np.unique(keys, return_inverse=True)
    known = sorted((names[key], place) for place, key in enumerate(distinct.tolist()) if key in names)
    position = np.full(len(distinct), -1, dtype=np.int32)
    position[[place for _, place in known]] = np.arange(len(known), dtype=np.int32)
    return tuple(name for name, _ in known), position[inverse]


def _order(user: NDArray[np.int32], micros: NDArray[np.int64], event_id: NDArray[np.bytes_]) -> NDArray[np.intp]:
    """Indices sorted by (user, micros, event_id): within a pair the last row is the one the state holds."""
    order = np.lexsort((micros, user))
    same = (np.diff(user[order]) == 0) & (np.diff(micros[order]) == 0)
    tied = np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
    if len(tied):  # few rows are; comparing 16 bytes for all of them would cost more than everything else
        rows = order[tied]
        order[tied] = rows[np.lexsort((event_id[rows], micros[rows], user[rows]))]
    return order
