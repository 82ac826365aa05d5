"""Export: the rows of a database into a file, in bounded batches. What `import` reads gives the same tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from app.application.transfer.catalog_file_rows import encode_item, encode_user
from app.application.transfer.interaction_file_rows import encode
from app.domain.entities import Item, User
from app.domain.files import RowWriter
from app.domain.stores import Database

PAGE = 5_000
Rows = Sequence[Sequence[object]]
Entry = TypeVar("Entry", bound=Item | User)


async def export(batches: AsyncIterator[Rows], writer: RowWriter, progress: Callable[[int], None]) -> int:
    """Write all batches; the number of rows. The file appears when it is whole; it is dropped on any error."""
    written = 0
    try:
        async for batch in batches:
            await asyncio.to_thread(writer.write, batch)
            written += len(batch)
            progress(written)
        await asyncio.to_thread(writer.close)
    except BaseException:
        writer.drop()
        raise
    return written


async def interaction_rows(database: Database) -> AsyncIterator[Rows]:
    """Every interaction, in the order it was taken in."""
    async for batch in database.interactions.export(PAGE):
        yield [encode(event) for event in batch]


async def item_rows(database: Database) -> AsyncIterator[Rows]:
    """Every item of the catalog, by id."""
    async for page in _pages(database.catalog.list_items, lambda item: item.item_id):
        yield [encode_item(item) for item in page]


async def user_rows(database: Database) -> AsyncIterator[Rows]:
    """Every user, by id."""
    async for page in _pages(database.catalog.list_users, lambda user: user.user_id):
        yield [encode_user(user) for user in page]


async def _pages(
    fetch: Callable[[str | None, int], Awaitable[Sequence[Entry]]], id_of: Callable[[Entry], str]
) -> AsyncIterator[Sequence[Entry]]:
    after: str | None = None
    while page := await fetch(after, PAGE):
        yield page
        after = id_of(page[-1])
