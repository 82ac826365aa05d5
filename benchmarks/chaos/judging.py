"""The verdict, from the database alone: plain SQL, none of the code under test."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer

from app.domain.entities import KINDS
from benchmarks.chaos.ledger import TOPICS, Ledger

DRAIN_LIMIT_SECONDS = 120.0

_IDS = "SELECT event_id FROM features.interactions"
_OFFSETS = "SELECT topic, partition, next_offset FROM features.consumer_offsets"
_STATES = """
SELECT u.user_id, i.item_id, s.kind, s.count, s.value, s.duration, s.occurred_at, s.event_id
FROM features.pair_states s JOIN features.users u USING (user_key) JOIN features.items i USING (item_key)
"""
_BY_ITEM = """
SELECT i.item_id, sum(s.count)::bigint FROM features.pair_states s JOIN features.items i USING (item_key) GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong (all of it must be 0) and what it was measured on."""

    acknowledged: int
    records: int
    lost: int
    phantom: int
    duplicated: int
    double_counted: int
    wrong_states: int
    wrong_offsets: int
    poison: int
    dead_letters: int
    dead_letters_published: int
    drain_seconds: float

    @property
    def is_clean(self) -> bool:
        wrong = self.lost + self.phantom + self.duplicated + self.double_counted + self.wrong_states
        is_exact = self.poison == self.dead_letters == self.dead_letters_published
        return wrong + self.wrong_offsets == 0 and is_exact

    def line(self) -> str:
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())


class Judge:
    """Reads the database and compares it with the ledger."""

    def __init__(self, database_url: str, brokers: str, ledger: Ledger) -> None:
        self._dsn = database_url.replace("+asyncpg", "")
        self._brokers = brokers
        self._ledger = ledger

    async def drained(self) -> float:
        """Wait until everything acknowledged is taken in; the seconds that took."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        while loop.time() - started < DRAIN_LIMIT_SECONDS:
            offsets = await self._offsets()
            if all(offsets.get(place, 0) >= end for place, end in self._ledger.ends.items()):
                break
            await asyncio.sleep(0.1)
        return loop.time() - started

    async def judge(self, drain_seconds: float) -> Verdict:
        """Everything acknowledged is in once; every count and state is what the ledger says."""
        ledger = self._ledger
        ids = [UUID(str(row[0])) for row in await self._rows(_IDS)]
        found, wanted = set(ids), set(ledger.acknowledged)
        double_counted = _differences(dict(await self._pairs(_BY_ITEM)), ledger.counts_by_item())
        return Verdict(
            acknowledged=len(wanted),
            records=ledger.records,
            lost=len(wanted - found),
            phantom=len(found - wanted - set(ledger.uncertain)),
            duplicated=len(ids) - len(found),
            double_counted=double_counted if not ledger.uncertain else 0,
            wrong_states=await self._wrong_states(),
            wrong_offsets=_differences(await self._offsets(), ledger.ends),
            poison=ledger.poison,
            dead_letters=int((await self._rows("SELECT count(*) FROM features.dead_letters"))[0][0]),
            dead_letters_published=await self._published(),
            drain_seconds=round(drain_seconds, 1),
        )

    async def _wrong_states(self) -> int:
        doubted = {event.pair for event in self._ledger.uncertain.values()}
        expected = {
            pair: (state.count, state.value, state.duration, *state.newest)
            for pair, state in self._ledger.states().items()
            if pair not in doubted
        }
        found = {
            (user, item, KINDS[kind].value): (count, value, duration, at, UUID(str(event_id)))
            for user, item, kind, count, value, duration, at, event_id in await self._rows(_STATES)
        }
        return _differences({pair: state for pair, state in found.items() if pair not in doubted}, expected)

    async def _offsets(self) -> dict[tuple[str, int], int]:
        try:
            rows = await self._rows(_OFFSETS)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return {}
        return {(topic, partition): offset for topic, partition, offset in rows if offset}

    async def _published(self) -> int:
        """Distinct dead letters on their topics, once the outbox is empty."""
        for _ in range(900):
            if (await self._rows("SELECT count(*) FROM features.outbox WHERE published_at IS NULL"))[0][0] == 0:
                break
            await asyncio.sleep(0.1)
        topics = [f"{topic}.dlq" for topic in TOPICS]
        consumer = AIOKafkaConsumer(bootstrap_servers=self._brokers, auto_offset_reset="earliest")
        await consumer.start()
        consumer.subscribe(pattern="|".join(topics))
        ids: set[bytes] = set()
        while records := await consumer.getmany(timeout_ms=3_000):
            ids |= {dict(record.headers)["ce_id"] for batch in records.values() for record in batch}
        await consumer.stop()
        return len(ids)

    async def _pairs(self, sql: str) -> list[tuple[str, int]]:
        return [(name, number) for name, number in await self._rows(sql)]

    async def _rows(self, sql: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self._dsn, timeout=5, command_timeout=60)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(sql)
            return rows
        finally:
            await connection.close(timeout=5)


def _differences(found: Mapping[Any, object], expected: Mapping[Any, object]) -> int:
    return sum(found.get(key) != expected.get(key) for key in found.keys() | expected.keys())


def summary(faults: Counter[str]) -> str:
    """The faults in words."""
    return ", ".join(f"{number} {fault}" for fault, number in faults.most_common())
