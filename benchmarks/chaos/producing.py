"""The producer: acks=all, keyed by user, at a steady rate, everything booked in the ledger once it is acknowledged."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from benchmarks.chaos.ledger import Ledger, Record

TICK_SECONDS = 0.05


async def produce(brokers: str, ledger: Ledger, rate: int, stopping: asyncio.Event, linger_ms: int = 5) -> None:
    """Until `stopping`; then wait for every acknowledgement."""
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers, acks="all", enable_idempotence=True, linger_ms=linger_ms, compression_type="lz4"
    )
    await producer.start()
    waiting: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    due = loop.time()
    while not stopping.is_set():
        for _ in range(int(rate * TICK_SECONDS)):
            record = ledger.draw(datetime.now(UTC))
            sent = await producer.send(record.topic, record.value, key=record.key)
            task = asyncio.create_task(_booked(ledger, record, sent))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        due += TICK_SECONDS
        # a frozen broker stops us; what was missed then is not made up for
        due = max(due, loop.time())
        await asyncio.sleep(due - loop.time())
    if waiting:
        await asyncio.wait(waiting, timeout=60)
    await producer.stop()


async def send(brokers: str, ledger: Ledger, records: int) -> None:
    """So many records, as fast as the broker takes them; all acknowledged on return."""
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all", enable_idempotence=True, linger_ms=5)
    await producer.start()
    drawn = [ledger.draw(datetime.now(UTC)) for _ in range(records)]
    await asyncio.gather(
        *[_booked(ledger, record, await producer.send(record.topic, record.value, key=record.key)) for record in drawn]
    )
    await producer.stop()


async def _booked(ledger: Ledger, record: Record, sent: asyncio.Future[object]) -> None:
    try:
        metadata = await sent
    except KafkaError:
        ledger.doubt(record)
    else:
        ledger.book(record, metadata.partition, metadata.offset)  # type: ignore[attr-defined]  # no types there
