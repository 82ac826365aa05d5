"""Whose turn it is to read a live list, and what a reader is told: no network, a list that is a text."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from itertools import count

import pytest

from app.application.recommending import live_lists
from app.application.recommending.live_lists import LiveList, LiveLists, LivePolicy, ReadList, Subscription
from app.domain.exceptions import DatabaseUnavailableError, OverloadedError, RateLimitedError
from app.infrastructure.cache.memory_cache import MemoryCache


def make(heartbeat_seconds: float = 30.0, connections: int = 100, per_user: int = 10) -> LiveLists:
    return LiveLists(MemoryCache(1_048_576), LivePolicy(connections, per_user, heartbeat_seconds))


class Source:
    """A list that a test changes; it counts how often it is read."""

    def __init__(self, now: str = "a") -> None:
        self.now = now
        self.reads = 0
        self.is_makeshift = False
        self.error: Exception | None = None

    async def read(self) -> LiveList:
        self.reads += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return LiveList(self.now, self.now.encode, self.is_makeshift)


async def told(subscription: Subscription) -> str | None:
    async with asyncio.timeout(5):
        found = await subscription.next()
    return None if found is None else found.id


async def test_a_reader_gets_the_list_and_then_each_that_differs() -> None:
    lists, source = make(heartbeat_seconds=0.05), Source()
    with lists.subscribed("u1", source.read) as reader:
        assert await told(reader) == "a"
        lists.renew("u1")
        assert await told(reader) is None, "read again, and no different: only a sign of life"
        assert source.reads == 2
        source.now = "b"
        lists.renew("somebody else")
        assert await told(reader) is None
        lists.renew("u1")
        assert await told(reader) == "b"
        source.now = "c"
        lists.renew_all()
        assert await told(reader) == "c"


async def test_many_changes_while_a_reader_is_busy_are_one_read() -> None:
    lists, source = make(), Source()
    with lists.subscribed("u1", source.read) as slow, lists.subscribed("u1", source.read) as quick:
        assert await told(slow) == await told(quick) == "a"
        for now in "bcdefg":
            source.now = now
            lists.renew("u1")
            assert await told(quick) == now, "a reader that is not slow misses nothing"
        reads = source.reads
        assert await told(slow) == "g"
        assert source.reads == reads + 1


async def test_a_change_while_the_list_is_read_is_not_lost() -> None:
    lists, source = make(), Source()

    async def read() -> LiveList:
        found = source.now
        if found == "a":
            source.now = "b"
            lists.renew("u1")
        return LiveList(found, found.encode)

    with lists.subscribed("u1", read) as reader:
        assert [await told(reader), await told(reader)] == ["a", "b"]


async def test_everybodys_lists_are_read_behind_those_of_users_with_events() -> None:
    lists, order = make(), list[str]()
    gate = asyncio.Event()
    gate.set()

    def reads(user_id: str) -> ReadList:
        versions = count()

        async def read() -> LiveList:
            await gate.wait()
            order.append(user_id)
            return LiveList(str(next(versions)), user_id.encode)

        return read

    users = [f"u{number}" for number in range(6)]
    readers = {}
    with ExitStack() as stack:
        for user_id in users:
            readers[user_id] = stack.enter_context(lists.subscribed(user_id, reads(user_id)))
            await told(readers[user_id])
        gate.clear()
        order.clear()
        waiting = [asyncio.create_task(told(reader)) for reader in readers.values()]
        await asyncio.sleep(0)
        lists.renew_all()
        await asyncio.sleep(0)
        lists.renew("u5")
        lists.renew("u4")
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*waiting)
    assert set(order) == set(users)
    assert max(order.index("u5"), order.index("u4")) <= 2, order


async def test_a_reader_that_is_not_there_holds_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_lists, "AT_ONCE", 1)
    lists, source = make(), Source()
    with lists.subscribed("deaf", source.read):
        with lists.subscribed("gone", source.read) as gone:
            pending = asyncio.create_task(told(gone))
            await asyncio.sleep(0)
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)
        with lists.subscribed("u1", source.read) as reader:
            assert await told(reader) == "a"
    assert len(lists) == 0


async def test_a_list_that_stands_in_for_another_does_not_replace_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_lists, "MAKESHIFT_SECONDS", 0.02)
    lists, source = make(heartbeat_seconds=0.2), Source("popular")
    source.is_makeshift = True
    with lists.subscribed("u1", source.read) as reader:
        assert await told(reader) == "popular", "better than nothing"
        source.now, source.is_makeshift = "a", False
        assert await told(reader) == "a", "tried again without any event"
        source.now, source.is_makeshift = "popular", True
        lists.renew("u1")
        assert await told(reader) is None, "what the reader has is better"
        source.error = DatabaseUnavailableError()
        lists.renew("u1")
        assert await told(reader) is None
        source.now, source.is_makeshift, source.error = "b", False, None
        assert await told(reader) == "b"


async def test_too_many_readers_are_refused_and_places_come_back() -> None:
    lists, source = make(connections=3, per_user=2), Source()
    with lists.subscribed("u1", source.read), lists.subscribed("u1", source.read):
        with pytest.raises(RateLimitedError), lists.subscribed("u1", source.read):
            pass
        with (
            lists.subscribed("u2", source.read),
            pytest.raises(OverloadedError),
            lists.subscribed("u3", source.read),
        ):
            pass
    with lists.subscribed("u3", source.read):
        assert len(lists) == 1
    with pytest.raises(OverloadedError), make(connections=0).subscribed("u1", source.read):
        pass


async def test_at_the_end_readers_are_told_at_once_and_nobody_new_comes() -> None:
    lists, source = make(), Source()
    with lists.subscribed("u1", source.read) as reader:
        assert await told(reader) == "a"
        waiting = asyncio.create_task(told(reader))
        await asyncio.sleep(0)
        lists.stop_accepting()
        with pytest.raises(OverloadedError), lists.subscribed("u2", source.read):
            pass
        source.now = "b"
        lists.renew("u1")
        assert await waiting == "b", "who is connected is served to the end"
        waiting = asyncio.create_task(told(reader))
        await asyncio.sleep(0)
        lists.end()
        assert await waiting is None
        assert reader.is_over


async def test_changes_are_heard_of_through_the_cache() -> None:
    cache, source = MemoryCache(1_048_576), Source()
    lists = LiveLists(cache, LivePolicy(10, 10, 30.0))
    following = asyncio.create_task(lists.follow())
    with lists.subscribed("u1", source.read) as reader:
        assert await told(reader) == "a"
        source.now = "b"
        await cache.bump(["u1"])
        assert await told(reader) == "b"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
