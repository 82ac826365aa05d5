"""Items and user profiles as people and services change them; what serves lists hears of it at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta

from app.application.invalidation.list_invalidation import ListInvalidator
from app.domain.entities import Item, User
from app.domain.exceptions import InputError, NotFoundError, PreconditionError
from app.domain.stores import CatalogStore

NEWEST = timedelta(minutes=5)
"""How far ahead a clock may be: an entry from next year would win against every correction."""


class CatalogService:
    """`wake` is called after every change of items; users whose profile changes get new lists.

    `erase_requests` removes a user from the request log and says how many entries there were.
    """

    def __init__(
        self,
        catalog: CatalogStore,
        renewal: ListInvalidator,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
        erase_requests: Callable[[str], Awaitable[int]],
    ) -> None:
        self._catalog = catalog
        self._renewal = renewal
        self._clock = clock
        self._wake = wake
        self._erase_requests = erase_requests

    async def put_items(self, items: Sequence[Item]) -> int:
        """Write items whole; returns how many were newer than what was stored. Raises InputError."""
        self._check_times([item.updated_at for item in items])
        changed = await self._catalog.upsert_items(items)
        self._wake()
        return changed

    async def replace_item(self, seen: Item | None, new: Item) -> None:
        """As `put_items`, of one item, where `seen` is still what is there. Raises PreconditionError, InputError."""
        self._check_times([new.updated_at])
        if not await self._catalog.replace_item(seen, new):
            raise PreconditionError("changed meanwhile")
        self._wake()

    async def find_item(self, item_id: str) -> Item | None:
        """One item, or None."""
        return await self._catalog.get_item(item_id)

    async def get_item(self, item_id: str) -> Item:
        """One item. Raises NotFoundError."""
        item = await self._catalog.get_item(item_id)
        if item is None:
            raise NotFoundError("item")
        return item

    async def remove_items(self, item_ids: Collection[str]) -> int:
        """Take items out of the catalog and out of every list; returns how many there were."""
        removed = await self._catalog.remove_items(item_ids, self._clock())
        self._wake()
        return removed

    async def remove_item(self, item_id: str) -> None:
        """As `remove_items`. Raises NotFoundError, and then nothing is marked as removed."""
        await self.get_item(item_id)
        if not await self.remove_items((item_id,)):
            raise NotFoundError("item")

    async def list_items(self, after: str | None, limit: int, words: str = "") -> Sequence[Item]:
        """In item_id order, strictly after `after`; with `words`, those that have them in their title or id."""
        return await self._catalog.list_items(after, limit, words)

    async def put_users(self, users: Sequence[User]) -> int:
        """Write profiles whole; returns how many were newer. Raises InputError, for a reserved id too.

        For somebody who was erased, what occurs from the erasure on is taken in at once.
        """
        self._check_times([user.updated_at for user in users])
        # Whoever was erased and comes back need not wait until no event of before can still be on its way.
        await self._catalog.readmit_users({user.user_id for user in users}, self._clock(), _before_erasure)
        changed = await self._catalog.upsert_users(users)
        await self._renewal.renew({user.user_id for user in users})
        return changed

    async def get_user(self, user_id: str) -> User:
        """One profile. Raises NotFoundError."""
        user = await self._catalog.get_user(user_id)
        if user is None:
            raise NotFoundError("user")
        return user

    async def remove_user(self, user_id: str) -> None:
        """Delete a profile, all the user ever did, what is still on its way, and the log of lists shown.

        Raises NotFoundError for somebody of whom nothing is stored. Repeating it after a failure finishes the work.
        """
        # events may be dated that far ahead of their arrival
        was_known = await self._catalog.remove_user(user_id, self._clock() + NEWEST)
        if not await self._erase_requests(user_id) and not was_known:
            raise NotFoundError("user")
        await self._renewal.renew({user_id})

    async def list_users(self, after: str | None, limit: int) -> Sequence[User]:
        """In user_id order, strictly after `after`."""
        return await self._catalog.list_users(after, limit)

    def _check_times(self, times: Sequence[datetime]) -> None:
        latest = self._clock() + NEWEST
        if any(time > latest for time in times):
            raise InputError("the time of a change lies in the future", "updated_at")


def _before_erasure(until: datetime) -> datetime:
    """From the end of what an erasure made void back to its own second: events are often dated in whole seconds."""
    return (until - NEWEST).replace(microsecond=0) - timedelta(microseconds=1)
