"""Events in from Kafka: the EventSource port over aiokafka, which this module keeps to itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Any, TypeVar, cast

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from app import telemetry
from app.domain.exceptions import BrokerUnavailableError
from app.domain.interfaces import EventSource, Partition, PartitionFacts, SourceRecord
from app.infrastructure.events.groups import GroupPolicy
from app.infrastructure.events.kafka_driver import adopt, end_consumer
from app.infrastructure.events.kafka_epoch import topic_epochs
from app.infrastructure.events.kafka_url import KafkaAddress
from app.infrastructure.uninterrupted import ended, uninterrupted

log = telemetry.get_logger(__name__)

T = TypeVar("T")

NEVER_MS = 86_400_000
"""The driver leaves the group when nobody polls for a while. Our own watchdog decides that, knowing the cause."""


class KafkaSource(EventSource):
    """One aiokafka consumer, made on first use and made anew after any error that is not its own business.

    `getmany` is never cancelled: it moves the position before it returns, so a cancelled call would lose records. A
    call that takes longer than the poll is kept and awaited by the next one.
    """

    def __init__(
        self, address: KafkaAddress, topics: Collection[str], group: GroupPolicy, timeout_seconds: float = 10.0
    ) -> None:
        self._address = address
        self._topics = topics
        self._group = group
        self._timeout = timeout_seconds
        self._consumer: AIOKafkaConsumer | None = None
        self._polling: asyncio.Future[Any] | None = None
        self._epochs: dict[tuple[int, str], str] = {}
        self._listener = _Listener()

    async def poll(self, max_records: int, timeout_seconds: float) -> Mapping[Partition, Sequence[SourceRecord]]:
        consumer = await self._joined()
        if self._polling is None:
            timeout_ms = int(timeout_seconds * 1_000)
            self._polling = asyncio.ensure_future(consumer.getmany(timeout_ms=timeout_ms, max_records=max_records))
        await asyncio.wait({self._polling}, timeout=timeout_seconds + 0.25)
        if not self._polling.done():
            return {}
        polled, self._polling = self._polling, None
        try:
            return cast("Mapping[Partition, Sequence[SourceRecord]]", polled.result())
        except (OffsetOutOfRangeError, NoOffsetForPartitionError):
            self._listener.positions_lost()
            return {}
        except KafkaError as exc:
            log.warning("consumer_failed", error=type(exc).__name__)
            await self.close()
            raise BrokerUnavailableError("the consumer failed and starts anew") from exc

    def assignment(self) -> tuple[int, frozenset[Partition]]:
        if self._consumer is None or self._listener.is_rebalancing:
            return self._listener.version, frozenset()
        return self._listener.version, frozenset(Partition(*tp) for tp in self._consumer.assignment())

    def is_joined(self) -> bool:
        return self._consumer is not None and not self._listener.is_rebalancing

    async def facts(self, partitions: Collection[Partition]) -> Mapping[Partition, PartitionFacts]:
        consumer = await self._joined()
        places = [TopicPartition(*partition) for partition in partitions]
        epochs = await self._epochs_of({place.topic for place in places})
        first = await self._asked(consumer.beginning_offsets(places))
        end = await self._asked(consumer.end_offsets(places))
        committed = await self._asked(asyncio.gather(*map(consumer.committed, places)))
        return {
            Partition(*place): PartitionFacts(first[place], end[place], hint, epochs[place.topic])
            for place, hint in zip(places, committed, strict=True)
        }

    def seek(self, partition: Partition, offset: int) -> bool:
        try:
            self._held().seek(TopicPartition(*partition), offset)
        except IllegalStateError:
            return False
        return True

    def pause(self, partition: Partition) -> None:
        if self._is_held(partition):
            self._held().pause(TopicPartition(*partition))

    def resume(self, partition: Partition) -> None:
        if self._is_held(partition):
            self._held().resume(TopicPartition(*partition))

    def lag(self, partition: Partition) -> int | None:
        if not self._is_held(partition):
            return None
        tp = TopicPartition(*partition)
        consumer = self._held()
        # records of open transactions lie beyond the last stable offset and are nobody's lag
        end = consumer.last_stable_offset(tp)
        state = consumer._subscription.subscription.assignment.state_value(tp)  # `position` would wait for one
        if end is None or end < 0 or not state.has_valid_position:
            return None
        return max(0, int(end) - int(state.position))

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        held = {TopicPartition(*place): offset for place, offset in offsets.items() if self._is_held(place)}
        if not held or self._consumer is None:
            return False
        try:
            await self._asked(self._consumer.commit(held))
        except BrokerUnavailableError:
            return False
        return True

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        polling, self._polling = self._polling, None
        self._listener.on_partitions_revoked(())
        self._epochs.clear()
        if consumer is not None:
            await uninterrupted(self._end(consumer, polling))

    async def _end(self, consumer: AIOKafkaConsumer, polling: asyncio.Future[Any] | None = None) -> None:
        # records that are being polled are lost with the consumer, whose positions nobody uses again
        await ended(polling, timeout_seconds=self._timeout)
        await end_consumer(consumer, self._timeout)

    async def _joined(self) -> AIOKafkaConsumer:
        if self._consumer is not None:
            return self._consumer
        consumer = AIOKafkaConsumer(
            **self._address.client_options(),
            client_id="encore-consumer",
            group_id=self._group.group,
            group_instance_id=self._group.instance,
            session_timeout_ms=int(self._group.session_seconds * 1_000),
            heartbeat_interval_ms=int(self._group.heartbeat_seconds * 1_000),
            partition_assignment_strategy=[StickyPartitionAssignor],
            max_poll_interval_ms=NEVER_MS,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            metadata_max_age_ms=30_000,
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=2_097_152,
            request_timeout_ms=int(self._timeout * 1_000),
        )
        # a pattern, because a topic that does not exist yet must neither fail the start nor be missed when it comes
        pattern = "^(" + "|".join(re.escape(topic) for topic in sorted(self._topics)) + ")$"
        adopt(consumer._client)
        consumer.subscribe(pattern=pattern, listener=self._listener)
        try:
            await self._asked(consumer.start())
        except (BrokerUnavailableError, asyncio.CancelledError):
            # Half started it would go on beating its heart, and hold partitions that nobody reads.
            await uninterrupted(self._end(consumer))
            raise
        self._consumer = consumer
        return consumer

    async def _epochs_of(self, topics: Collection[str]) -> Mapping[str, str]:
        """Asked once for each time positions are lost: a topic that is made anew takes them away."""
        asked_at = self._listener.version
        known = {topic: epoch for (version, topic), epoch in self._epochs.items() if version == asked_at}
        if missing := sorted(set(topics) - known.keys()):
            known |= await self._asked(topic_epochs(self._address, missing, self._timeout))
            self._epochs = {(asked_at, topic): epoch for topic, epoch in known.items()}
        return known

    async def _asked(self, call: Awaitable[T]) -> T:
        """The answer within the time, or BrokerUnavailableError."""
        task = asyncio.ensure_future(call)
        try:
            await asyncio.wait({task}, timeout=self._timeout)
            if not task.done():
                raise BrokerUnavailableError("the broker did not answer in time")
            return task.result()
        except (KafkaError, OSError) as exc:
            raise BrokerUnavailableError("the broker refused") from exc
        finally:
            if not task.done():
                await uninterrupted(ended(task, timeout_seconds=self._timeout))

    def _held(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise IllegalStateError("not a member of the group")
        return self._consumer

    def _is_held(self, partition: Partition) -> bool:
        return self._consumer is not None and TopicPartition(*partition) in self._consumer.assignment()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the driver has no types
    """Notes that positions are lost; waits for nothing, because a lock here and around `getmany` would deadlock."""

    def __init__(self) -> None:
        self.version = 1
        self.is_rebalancing = True

    def positions_lost(self) -> None:
        self.version += 1

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self.is_rebalancing = True
        self.positions_lost()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self.is_rebalancing = False
        self.positions_lost()
