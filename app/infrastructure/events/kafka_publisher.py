"""Events out to Kafka: idempotent, acknowledged by all in-sync replicas, connected on first use."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from opentelemetry.trace import Span

from app.domain.entities import OutboxMessage
from app.domain.exceptions import BrokerUnavailableError, InputError
from app.domain.interfaces import EventPublisher
from app.infrastructure.events.cloudevents import binary_headers
from app.infrastructure.events.kafka_admin import create_missing_topics
from app.infrastructure.events.kafka_driver import adopt, end_producer
from app.infrastructure.events.kafka_url import KafkaAddress
from app.infrastructure.uninterrupted import ended, uninterrupted
from app.spans import is_collecting, sending, traceparent_of


class KafkaPublisher(EventPublisher):
    """One idempotent producer, made on first use and thrown away after any failure.

    The driver's idempotent producer retries a batch for ever, so a message it still holds when we give up would go out
    a second time, and later than its successors. A producer that failed is therefore closed before the caller retries.
    """

    def __init__(self, address: KafkaAddress, timeout_seconds: float) -> None:
        self._address = address
        self._timeout = timeout_seconds
        self._producer: AIOKafkaProducer | None = None
        self._topics: set[str] = set()
        self._lock = asyncio.Lock()

    async def publish(self, messages: Sequence[OutboxMessage]) -> None:
        """Raises InputError, besides, for a message no broker would ever take (too large)."""
        if not messages:
            return
        async with self._lock:
            await self._bounded(self._send(messages))

    async def ping(self) -> None:
        async with self._lock:
            await self._bounded(self._refresh_metadata())

    async def close(self) -> None:
        await uninterrupted(self._close())

    async def _close(self) -> None:
        async with self._lock:
            await self._discard()

    async def _send(self, messages: Sequence[OutboxMessage]) -> None:
        producer = await self._started()
        await self._ensure_topics({message.topic for message in messages})
        acknowledgements: list[asyncio.Future[Any]] = []
        traced: list[Span] = []
        try:
            for message in messages:
                # one after the other: this is what keeps the order of a key; the batch travels as one request
                record = {"value": message.payload, "key": message.key.encode() or None}
                headers = binary_headers(_on_its_way(message, traced))
                acknowledgements.append(await producer.send(message.topic, **record, headers=headers))
        finally:
            # also when a later message was refused: nobody else will look at these
            results = await asyncio.gather(*acknowledgements, return_exceptions=True)
            for made in traced:
                made.end()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _refresh_metadata(self) -> None:
        producer = await self._started()
        if not await producer.client.force_metadata_update():
            raise BrokerUnavailableError("no broker answers")

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                **self._address.client_options(),
                client_id="encore-publisher",
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=2,
                request_timeout_ms=int(self._timeout * 1_000),
            )
            adopt(self._producer.client)
            await self._producer.start()
        return self._producer

    async def _ensure_topics(self, topics: set[str]) -> None:
        if missing := topics - self._topics:
            await create_missing_topics(self._address, missing, self._timeout)
            self._topics |= missing

    async def _bounded(self, work: Coroutine[Any, Any, None]) -> None:
        # asyncio.wait and not wait_for: a driver that swallows the cancellation must not hold the caller
        task = asyncio.ensure_future(work)
        is_healthy = False
        try:
            await asyncio.wait({task}, timeout=self._timeout)
            _raise_failure(task)
            is_healthy = True
        except InputError:
            is_healthy = True
            raise
        finally:
            if not is_healthy:
                await uninterrupted(self._given_up(task))

    async def _given_up(self, task: asyncio.Future[None]) -> None:
        await ended(task, timeout_seconds=self._timeout / 2)
        await self._discard()

    async def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await end_producer(producer, self._timeout / 2)


def _on_its_way(message: OutboxMessage, traced: list[Span]) -> OutboxMessage:
    """The message as it is sent: where its trace is recorded, whoever reads it goes on from the span of sending it."""
    topic = message.topic
    attributes = {
        "messaging.system": "kafka",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.message.id": str(message.message_id),
    }
    made = sending(f"send {topic}", message.headers.get("traceparent"), attributes) if is_collecting() else None
    if made is None:
        return message
    traced.append(made)
    return replace(message, headers={**message.headers, "traceparent": traceparent_of(made)})


def _raise_failure(task: asyncio.Future[None]) -> None:
    """Every way the driver can fail, in our words."""
    if not task.done():
        raise BrokerUnavailableError("the broker did not answer in time")
    try:
        task.result()
    except MessageSizeTooLargeError as exc:
        raise InputError("a message is too large for the broker") from exc
    except (KafkaError, OSError) as exc:
        raise BrokerUnavailableError("the broker refused") from exc
