"""The batches of a file, decoded: what an import takes in and what a rehearsal shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.application.transfer.catalog_file_rows import CatalogRows, Reading
from app.application.transfer.columns import Condition, wanted
from app.application.transfer.interaction_file_rows import InteractionRows
from app.domain.entities import Interaction, Item, User
from app.domain.files import BrokenRow, RowBatch, RowReader

T = TypeVar("T")
Entry = TypeVar("Entry", bound=Item | User)


@dataclass(frozen=True, slots=True)
class DecodedBatch(Generic[T]):
    """One batch: `places` of the fields in `columns`, `read` rows of which `left_out` were not asked for."""

    good: Sequence[T]
    bad: Sequence[BrokenRow]
    columns: Sequence[str]
    places: Mapping[str, int]
    read: int
    left_out: int


def decoded_events(
    reader: RowReader, rows: InteractionRows, conditions: Sequence[Condition], size: int
) -> Iterator[DecodedBatch[Interaction]]:
    """The interactions of a file, at most `size` at a time."""

    def decode(batch: RowBatch, above: int) -> tuple[Sequence[Interaction], Sequence[BrokenRow]]:
        return rows.decode(batch, above)

    return _decoded(reader, decode, rows.places, conditions, size)


def decoded_entries(
    reader: RowReader, rows: CatalogRows[Entry], reading: Reading, conditions: Sequence[Condition], size: int
) -> Iterator[DecodedBatch[Entry]]:
    """The items or users of a file, at most `size` at a time."""

    def decode(batch: RowBatch, above: int) -> tuple[Sequence[Entry], Sequence[BrokenRow]]:
        return rows.decode(batch, reading, above)

    return _decoded(reader, decode, lambda columns: rows.places(columns, reading), conditions, size)


def _decoded(
    reader: RowReader,
    decode: Callable[[RowBatch, int], tuple[Sequence[T], Sequence[BrokenRow]]],
    places: Callable[[Sequence[str]], Mapping[str, int]],
    conditions: Sequence[Condition],
    size: int,
) -> Iterator[DecodedBatch[T]]:
    above = 0
    for batch in reader.batches(size):
        kept = wanted(batch, conditions, is_first=not above)
        good, bad = decode(kept, above)
        read = len(batch.rows) + len(batch.broken)
        above += read
        left_out = len(batch.rows) - len(kept.rows)
        yield DecodedBatch(good, [*batch.broken, *bad], batch.columns, places(batch.columns), read, left_out)


async def ahead(values: Iterator[T]) -> AsyncIterator[T]:
    """The values, each made in a thread while the one before is being used: reading and writing overlap."""
    end = object()
    upcoming = asyncio.ensure_future(asyncio.to_thread(next, values, end))
    try:
        while (value := await upcoming) is not end:
            upcoming = asyncio.ensure_future(asyncio.to_thread(next, values, end))
            yield value  # type: ignore[misc]  # it is not `end`, so it is a T
    finally:
        await asyncio.gather(upcoming, return_exceptions=True)
