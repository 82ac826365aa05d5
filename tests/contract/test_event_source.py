"""The contract of EventSource: the log in memory and a real Kafka behave alike."""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import urlsplit

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.domain.exceptions import ConfigurationError
from app.domain.interfaces import EventSource, Partition, SourceRecord
from app.infrastructure.events import GroupPolicy, open_source
from tests.memory_source import MemoryLog, MemorySource

PARTITIONS = 2


class Log(ABC):
    """A log to write to, and members to read it with."""

    def __init__(self) -> None:
        self.topic = f"encore-test-{uuid.uuid4().hex[:12]}"
        self.places = [Partition(self.topic, number) for number in range(PARTITIONS)]
        self.sources: list[EventSource] = []

    @abstractmethod
    async def append(self, place: Partition, *values: bytes) -> None: ...

    @abstractmethod
    async def recreate(self) -> None:
        """Delete the topic and make it anew."""

    @abstractmethod
    async def _open(self) -> EventSource: ...

    async def member(self) -> EventSource:
        """A member that has its share."""
        source = await self._open()
        self.sources.append(source)
        async with asyncio.timeout(60):
            while not (source.is_joined() and source.assignment()[1]):
                await source.poll(10, 0.05)
        return source


class InMemory(Log):
    def __init__(self) -> None:
        super().__init__()
        self._log = MemoryLog()

    async def append(self, place: Partition, *values: bytes) -> None:
        for value in values:
            self._log.append(place, value, key=b"k", headers=[("ce_id", b"1")])

    async def recreate(self) -> None:
        self._log.records.clear()
        self._log.epochs[self.topic] = "memory/2"

    async def _open(self) -> EventSource:
        return MemorySource(self._log, self.places)


class OnKafka(Log):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._servers = urlsplit(url).netloc
        self._group = GroupPolicy(group=self.topic, session_seconds=6, heartbeat_seconds=0.3)

    async def create(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await admin.start()
        await admin.create_topics([NewTopic(self.topic, PARTITIONS, 1)])
        await admin.close()
        self._producer = AIOKafkaProducer(bootstrap_servers=self._servers)
        await self._producer.start()

    async def append(self, place: Partition, *values: bytes) -> None:
        for value in values:
            record = {"value": value, "key": b"k", "headers": [("ce_id", b"1")], "partition": place.partition}
            await self._producer.send_and_wait(self.topic, **record)

    async def recreate(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await admin.start()
        await admin.delete_topics([self.topic])
        await asyncio.sleep(0.5)
        await admin.create_topics([NewTopic(self.topic, PARTITIONS, 1)])
        await admin.close()

    async def _open(self) -> EventSource:
        return await open_source(self._url, [self.topic, "encore-test-never-made"], self._group)

    async def close(self) -> None:
        await self._producer.stop()


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.real_servers)])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    if request.param == "memory":
        made: Log = InMemory()
        yield made
    else:
        kafka = made = OnKafka(request.getfixturevalue("kafka_url"))
        await kafka.create()
        yield made
        await kafka.close()
    for source in made.sources:
        await source.close()


async def read(source: EventSource, count: int, max_records: int = 100) -> Mapping[Partition, Sequence[SourceRecord]]:
    """Poll until that many records came."""
    found: dict[Partition, list[SourceRecord]] = {}
    async with asyncio.timeout(60):
        while sum(map(len, found.values())) < count:
            for place, records in (await source.poll(max_records, 0.2)).items():
                found.setdefault(Partition(*place), []).extend(records)
    return found


async def test_records_come_in_offset_order_with_all_they_carry(log: Log) -> None:
    first, second = log.places
    await log.append(first, b"a", b"b", b"c")
    await log.append(second, b"d")
    source = await log.member()
    assert source.assignment()[1] == frozenset(log.places)
    for place in log.places:
        assert source.seek(place, 0)
    found = await read(source, 4)
    assert [(record.offset, record.value) for record in found[first]] == [(0, b"a"), (1, b"b"), (2, b"c")]
    assert (found[second][0].key, list(found[second][0].headers)) == (b"k", [("ce_id", b"1")])


async def test_a_poll_returns_no_more_than_asked_for_and_goes_on_where_it_stopped(log: Log) -> None:
    place = log.places[0]
    await log.append(place, b"a", b"b", b"c")
    source = await log.member()
    source.seek(place, 0)
    source.seek(log.places[1], 0)
    assert len((await read(source, 1, max_records=2))[place]) == 2
    assert [record.value for record in (await read(source, 1))[place]] == [b"c"]


async def test_seek_goes_back_and_forward_and_drops_what_was_fetched_ahead(log: Log) -> None:
    place = log.places[0]
    await log.append(place, b"a", b"b", b"c")
    source = await log.member()
    source.seek(log.places[1], 0)
    source.seek(place, 0)
    await read(source, 3)
    source.seek(place, 1)
    assert [record.offset for record in (await read(source, 2))[place]] == [1, 2]
    assert source.lag(place) == 0


async def test_a_paused_partition_is_silent_until_it_is_resumed(log: Log) -> None:
    first, second = log.places
    source = await log.member()
    source.seek(first, 0)
    source.seek(second, 0)
    source.pause(first)
    await log.append(first, b"a")
    await log.append(second, b"b")
    assert set(await read(source, 1)) == {second}
    assert not await source.poll(10, 0.3)
    source.resume(first)
    assert set(await read(source, 1)) == {first}


async def test_facts_tell_the_bounds_the_hint_and_the_epoch(log: Log) -> None:
    place = log.places[0]
    await log.append(place, b"a", b"b")
    source = await log.member()
    facts = (await source.facts([place]))[place]
    assert (facts.first_offset, facts.end_offset, facts.committed) == (0, 2, None)
    assert "/" in facts.epoch
    assert await source.commit({place: 1})
    assert (await source.facts([place]))[place].committed == 1


async def test_a_topic_made_anew_has_another_epoch(log: Log) -> None:
    place = log.places[0]
    await log.append(place, b"a")
    source = await log.member()
    epoch = (await source.facts([place]))[place].epoch
    await source.close()
    await log.recreate()
    source = await log.member()
    assert (await source.facts([place]))[place].epoch != epoch


async def test_a_hint_outlives_the_member_and_positions_do_not(log: Log) -> None:
    place = log.places[0]
    await log.append(place, b"a", b"b")
    source = await log.member()
    version, _ = source.assignment()
    await source.commit({place: 2})
    await source.close()
    assert source.assignment()[0] > version
    heir = await log.member()
    assert (await heir.facts([place]))[place].committed == 2


async def test_what_is_not_ours_is_refused_without_an_error(log: Log) -> None:
    source = await log.member()
    foreign = Partition(log.topic, 99)
    assert source.seek(foreign, 0) is False
    assert source.lag(foreign) is None
    source.pause(foreign)
    source.resume(foreign)


@pytest.mark.real_servers
async def test_a_second_member_takes_over_a_part_and_the_first_one_notices(kafka_url: str) -> None:
    log = OnKafka(kafka_url)
    await log.create()
    first = await log.member()
    version, owned = first.assignment()
    assert len(owned) == PARTITIONS
    second = await log.member()
    async with asyncio.timeout(60):
        while len(first.assignment()[1]) != 1 or len(second.assignment()[1]) != 1:
            await asyncio.gather(first.poll(10, 0.05), second.poll(10, 0.05))
    assert first.assignment()[0] > version
    assert first.assignment()[1] | second.assignment()[1] == frozenset(log.places)
    await second.close()
    await first.close()
    await log.close()


async def test_a_log_is_consumed_from_kafka_only() -> None:
    with pytest.raises(ConfigurationError, match="ENCORE_EVENTS_URL"):
        await open_source("memory://", ["t"], GroupPolicy())
