"""The cache behind Sentinel while its primary is killed, and over a cluster: no wrong list, no long wait."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from app.domain.exceptions import CacheUnavailableError
from app.domain.interfaces import Cache
from app.infrastructure.cache import open_cache
from tests.servers.redis_topologies import Topology

pytestmark = [pytest.mark.real_servers, pytest.mark.slow]

USERS = 30
TIMEOUT_MS = 250
"""Five times the usual patience: tests share two cores."""

BACK_SECONDS = 60.0
"""Sentinel notices after half a second, agrees and promotes within a few; C2 gives ten for a server that returns."""


@dataclass
class Load:
    """Readers and writers of a few users over two caches, as two processes have them; a list names its version."""

    caches: list[Cache]
    bumped: dict[str, int] = field(default_factory=dict)
    version: int = 0
    asked: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    answered_at: float = 0.0
    is_over: bool = False

    async def run(self, seed: int) -> None:
        draw = random.Random(seed)
        while not self.is_over:
            user_id = f"u{draw.randrange(USERS)}"
            work = self._bump(draw, user_id) if draw.random() < 0.2 else self._read(draw, user_id)
            began = time.monotonic()
            try:
                await work
                self.answered_at = time.monotonic()
            except CacheUnavailableError:
                self.refused += 1
            self.asked += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            await asyncio.sleep(0.005)

    async def _read(self, draw: random.Random, user_id: str) -> None:
        cache = draw.choice(self.caches)
        oldest = self.bumped.get(user_id, 0)
        reply = await cache.read(user_id, "v", None)
        if reply.value is not None and int(reply.value) < oldest:
            self.wrong.append(f"{user_id}: {reply.value!r} after a bump at {oldest}")
        if reply.value is None:
            self.version += 1
            made = self.version
            await asyncio.sleep(0.002)  # it takes a while to compute, and a bump may come
            await cache.write(user_id, "v", reply.generation, b"%d" % made, 60)

    async def _bump(self, draw: random.Random, user_id: str) -> None:
        self.version += 1
        at = self.version
        await draw.choice(self.caches).bump([user_id])
        self.bumped[user_id] = max(at, self.bumped.get(user_id, 0))


@pytest.fixture
async def load(own_redis_sentinel: Topology) -> AsyncIterator[Load]:
    caches = [await open_cache(f"{own_redis_sentinel.url}?timeout_ms={TIMEOUT_MS}", 0) for _ in range(2)]
    load = Load(caches)
    async with asyncio.TaskGroup() as tasks:
        for seed in range(8):
            tasks.create_task(load.run(seed))
        yield load
        load.is_over = True
    for cache in caches:
        await cache.close()


@pytest.mark.parametrize("way", ["killed", "frozen"])
async def test_a_primary_that_goes_under_load_is_replaced_and_no_list_outlives_its_bump(
    own_redis_sentinel: Topology, load: Load, way: str
) -> None:
    await asyncio.sleep(1.0)
    before = load.refused
    [old] = await asyncio.to_thread(own_redis_sentinel.primaries)

    gone_at = time.monotonic()
    await asyncio.to_thread(old.control.kill if way == "killed" else old.control.pause)
    await asyncio.sleep(1.0)  # the last answers of the old one are counted by now
    async with asyncio.timeout(BACK_SECONDS):
        while load.answered_at < gone_at + 1.0:  # noqa: ASYNC110 - eight tasks set it, all the time
            await asyncio.sleep(0.05)
    await asyncio.sleep(2.0)
    if way == "frozen":
        await asyncio.to_thread(old.control.resume)  # it takes itself for the primary until a sentinel tells it
        await asyncio.sleep(2.0)

    assert any(one is not old for one in await asyncio.to_thread(own_redis_sentinel.primaries))
    assert load.wrong == []
    assert before == 0
    assert 0 < load.refused < load.asked
    assert load.slowest < 10.0  # some timeouts, and a busy machine


async def test_cancelled_commands_of_a_cluster_never_mix_up_answers(redis_cluster_url: str) -> None:
    cache = await open_cache(f"{redis_cluster_url}?timeout_ms=5000", 0)
    for number in range(USERS):
        generation = (await cache.read(f"u{number}", "v", None)).generation
        assert await cache.write(f"u{number}", "v", generation, b"list of %d" % number, 60)
    draw, cancelled = random.Random(3), 0

    for _ in range(20):
        numbers = draw.choices(range(USERS), k=150)
        asked = [asyncio.create_task(cache.read(f"u{number}", "v", None)) for number in numbers]
        await asyncio.sleep(draw.choice([0, 0, 0.002]))
        for task in draw.sample(asked, 60):
            task.cancel()
        for number, reply in zip(numbers, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(reply, asyncio.CancelledError):
                cancelled += 1
            else:
                assert not isinstance(reply, BaseException)
                assert reply.value == b"list of %d" % number

    await cache.close()
    assert cancelled > 200


async def test_keys_of_a_user_lie_in_one_slot_and_users_on_all_nodes(redis_cluster_servers: Topology) -> None:
    redis_cluster_servers.empty()
    cache = await open_cache(f"{redis_cluster_servers.url}?timeout_ms=5000", 0)
    users = [f"u{number}" for number in range(USERS)] + ["}", "{}", "a}b{c", ":"]

    for user_id in users:
        generation = (await cache.read(user_id, "v", 10)).generation
        assert await cache.write(user_id, "v", generation, user_id.encode(), 60)
    await cache.bump(users[:5])

    found = [(await cache.read(user_id, "v", None)).value for user_id in users]
    await cache.close()
    assert found == [None] * 5 + [user_id.encode() for user_id in users[5:]]
    counts = await asyncio.to_thread(redis_cluster_servers.counts)
    assert min(counts) > USERS / 3
