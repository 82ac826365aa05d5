"""The consumer in a real group: stalls of its event loop, and members that come and go all the time."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiokafka import AIOKafkaProducer

from app.application.ingestion.batch_planning import DecodedRecord
from app.application.ingestion.record_decoding import decode_records
from app.application.ingestion.stream_consumer import ConsumePolicy, StreamConsumer
from app.domain.interfaces import SourceRecord
from app.domain.stores import Database
from app.infrastructure.cache.memory_cache import MemoryCache
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from app.infrastructure.events import GroupPolicy, open_source
from benchmarks.chaos.rig import create_topics

pytestmark = [pytest.mark.real_servers, pytest.mark.slow]

STALLED_SECONDS = float(os.environ.get("ENCORE_TEST_STALL_SECONDS", "3"))
"""The whole proof: 9."""

SESSION_SECONDS = STALLED_SECONDS * 2 / 3
PARTITIONS = 4


def decode(_topic: str, records: Sequence[SourceRecord], now: datetime) -> list[DecodedRecord]:
    """Every topic of these tests holds VideoRated."""
    return decode_records("profile-service.video-rated", records, now)


class Group:
    """A topic of its own, a database, and members."""

    def __init__(self, kafka_url: str, database: Database) -> None:
        self.topic = f"encore-test-{uuid.uuid4().hex[:12]}"
        self.database = database
        self._url = kafka_url
        self._servers = urlsplit(kafka_url).netloc
        self._sent = 0

    async def create(self) -> None:
        await create_topics(self._servers, {self.topic: PARTITIONS})

    async def send(self, count: int) -> None:
        """So many new events, acknowledged."""
        producer = AIOKafkaProducer(bootstrap_servers=self._servers)
        await producer.start()
        for _ in range(count):
            event = {
                "event_id": str(uuid.uuid4()),
                "user_id": f"u{self._sent}",
                "video_id": "v1",
                "rating": 4,
                "timestamp": datetime.now(UTC).isoformat(),
            }
            await producer.send(self.topic, json.dumps(event).encode(), partition=self._sent % PARTITIONS)
            self._sent += 1
        await producer.stop()

    async def member(self) -> StreamConsumer:
        policy = GroupPolicy(self.topic, session_seconds=SESSION_SECONDS, heartbeat_seconds=0.3)
        source = await open_source(self._url, [self.topic], policy)
        consuming = ConsumePolicy(poll_seconds=0.1)
        return StreamConsumer(
            source, self.database, MemoryCache(1_000_000), decode, lambda: datetime.now(UTC), consuming
        )

    async def caught_up(self, seconds: float) -> None:
        """Everything sent is in, once."""
        async with asyncio.timeout(seconds):
            while True:
                offsets = await self.database.interactions.offsets(self.topic)
                if sum(offset.next_offset for offset in offsets) == self._sent:
                    break
                await asyncio.sleep(0.05)
        assert await self.database.interactions.count() == self._sent


@pytest.fixture
async def group(kafka_url: str, tmp_path: Path) -> AsyncIterator[Group]:
    url = f"sqlite+aiosqlite:///{tmp_path}/encore.db"
    await asyncio.to_thread(migrate, url)
    database = await open_database(url, pool_size=4, timeout_seconds=10, lease_seconds=60)
    made = Group(kafka_url, database)
    await made.create()
    yield made
    await database.close()


async def test_a_loop_that_stood_still_past_the_session_consumes_again_by_itself(group: Group) -> None:
    """E4: three stalls; each time back within ten seconds and without a restart of the process."""
    member = await group.member()
    running = asyncio.create_task(member.run())
    await group.send(100)
    await group.caught_up(20)
    for _ in range(3):
        time.sleep(STALLED_SECONDS)  # noqa: ASYNC251 - to block the loop is the point
        await group.send(50)
        await group.caught_up(10)
    member.stop()
    await running


async def test_members_that_come_and_go_lose_nothing_and_write_nothing_twice(group: Group) -> None:
    """E5: joins and leaves without end, half of them clean, half by dying; the fence admits one writer a partition."""
    dice = random.Random(5)
    members: list[tuple[StreamConsumer, asyncio.Task[None]]] = []
    for turn in range(60):
        await group.send(50)
        if len(members) < 3 and (not members or dice.random() < 0.6):
            member = await group.member()
            members.append((member, asyncio.create_task(member.run())))
        elif len(members) > 1:
            member, running = members.pop(dice.randrange(len(members)))
            if turn % 2:
                running.cancel()  # no last hint, no goodbye in time
            member.stop()
            await asyncio.wait({running}, timeout=30)
        await asyncio.sleep(0.3)
    await group.caught_up(30)
    for member, running in members:
        member.stop()
        await running
