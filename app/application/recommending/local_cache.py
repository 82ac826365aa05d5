"""The nearest cache: decoded lists of hot users in process memory, for seconds, dropped at once when told."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from app.domain.list_query import Page
from app.domain.ranked_list import RankedList

MAX_PAGES = 4
"""Rendered pages kept per list: the first ones are asked for again and again."""

MAX_VARIANTS = 64
"""Lists held per user: one user with endless filter combinations must not push everybody else out."""

_LIST_BYTES = 1_500
_ITEM_BYTES = 10
_PAGE_BYTES = 700
_PAGE_ITEM_BYTES = 200
"""Measured with sys.getsizeof over lists of 10 and 100 items on CPython 3.11, cards shared with the catalog."""

MAX_REMEMBERED_DROPS = 10_000


@dataclass(slots=True)
class LocalList:
    """A list under one generation, with the pages made from it."""

    ranked: RankedList
    generation: int | None
    expires_at: float
    pages: dict[tuple[int, int, int], Page] = field(default_factory=dict)
    size: int = 0


class LocalListCache:
    """Bounded by bytes, least recently used go first. Not thread-safe: for one event loop.

    A list whose computation began before its user was dropped is not kept: take `dropped(user_id)` before computing,
    and hand it to `put`.
    """

    def __init__(self, max_bytes: int, ttl_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._ttl_seconds = ttl_seconds
        self._monotonic = monotonic
        self._users: OrderedDict[str, dict[str, LocalList]] = OrderedDict()
        self._drops = 0
        self._forgotten = 0
        self._dropped: OrderedDict[str, int] = OrderedDict()
        self.size_bytes = 0

    def dropped(self, user_id: str) -> int:
        """A ticket that changes only when this user is dropped (or so many others that nobody remembers)."""
        return max(self._forgotten, self._dropped.get(user_id, 0))

    def get(self, user_id: str, variant: str) -> LocalList | None:
        lists = self._users.get(user_id)
        held = None if lists is None else lists.get(variant)
        if held is None or lists is None:
            return None
        if self._monotonic() >= held.expires_at:
            self._release(lists.pop(variant))
            return None
        self._users.move_to_end(user_id)
        return held

    def put(self, user_id: str, variant: str, generation: int | None, ranked: RankedList, ticket: int) -> LocalList:
        """Keep a list, unless its user was dropped since the ticket; the list comes back either way."""
        held = LocalList(ranked, generation, self._monotonic() + self._ttl_seconds)
        if self.dropped(user_id) > ticket:
            return held
        lists = self._users.setdefault(user_id, {})
        if variant in lists or len(lists) >= MAX_VARIANTS:
            self._release(lists.pop(variant if variant in lists else next(iter(lists))))
        lists[variant] = held
        held.size = _LIST_BYTES + len(ranked) * _ITEM_BYTES
        self.size_bytes += held.size
        self._users.move_to_end(user_id)
        self._evict()
        return held

    def put_page(self, held: LocalList, key: tuple[int, int, int], page: Page) -> None:
        """Keep a page beside its list. `key` is (catalog revision, offset, limit)."""
        if len(held.pages) >= MAX_PAGES:
            self._resize(held, -_page_size(held.pages.pop(next(iter(held.pages)))))
        held.pages[key] = page
        self._resize(held, _page_size(page))
        self._evict()

    def drop(self, user_id: str) -> None:
        """Forget a user's lists, and refuse those now being computed."""
        self._drops += 1
        self._dropped[user_id] = self._drops
        self._dropped.move_to_end(user_id)
        if len(self._dropped) > MAX_REMEMBERED_DROPS:
            _user_id, self._forgotten = self._dropped.popitem(last=False)
        for held in self._users.pop(user_id, {}).values():
            self._release(held)

    def erase(self, is_theirs: Callable[[str], bool]) -> int:
        """Drop the lists of people who are to be forgotten, and that they were dropped; how many lists there were."""
        theirs = [user_id for user_id in self._users if is_theirs(user_id)]
        lists = sum(len(self._users[user_id]) for user_id in theirs)
        for user_id in theirs:
            self.drop(user_id)
        for user_id in [user_id for user_id in self._dropped if is_theirs(user_id)]:
            self._forgotten = max(self._forgotten, self._dropped.pop(user_id))
        return lists

    def clear(self) -> None:
        """Forget everything, and refuse what is now being computed."""
        self._drops += 1
        self._forgotten = self._drops
        self._dropped.clear()
        for lists in self._users.values():
            for held in lists.values():
                self._release(held)
        self._users.clear()

    def _resize(self, held: LocalList, change: int) -> None:
        # A list that was not kept, or was dropped meanwhile, is not counted.
        if held.size:
            held.size += change
            self.size_bytes += change

    def _release(self, held: LocalList) -> None:
        self.size_bytes -= held.size
        held.size = 0

    def _evict(self) -> None:
        while self.size_bytes > self._max_bytes and len(self._users) > 1:
            _user_id, lists = self._users.popitem(last=False)
            for held in lists.values():
                self._release(held)


def _page_size(page: Page) -> int:
    return _PAGE_BYTES + len(page.items) * _PAGE_ITEM_BYTES + len(page.rest)
