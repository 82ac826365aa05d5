"""The few administrative calls Encore makes: topics it writes to exist before the first message."""

from __future__ import annotations

from collections.abc import Collection

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from app.infrastructure.events.kafka_driver import adopt
from app.infrastructure.events.kafka_url import KafkaAddress
from app.infrastructure.uninterrupted import uninterrupted

BROKER_DEFAULT = -1


async def create_missing_topics(address: KafkaAddress, topics: Collection[str], timeout_seconds: float) -> None:
    """Create those that do not exist, with the broker's default partitions and replicas (KIP-464).

    Without this one missing dead letter topic would hold up every message behind it. Raises the driver's KafkaError.
    """
    admin = AIOKafkaAdminClient(**address.client_options(), request_timeout_ms=int(timeout_seconds * 1_000))
    adopt(admin._client)
    try:
        await admin.start()
        missing = set(topics) - set(await admin.list_topics())
        if missing:
            new = [NewTopic(topic, BROKER_DEFAULT, BROKER_DEFAULT, replica_assignments={}) for topic in sorted(missing)]
            _raise_first_error(await admin.create_topics(new))
    finally:
        await uninterrupted(admin.close())


async def existing_topics(address: KafkaAddress, timeout_seconds: float) -> Collection[str]:
    """The names of all topics that we may see. Raises the driver's KafkaError."""
    admin = AIOKafkaAdminClient(**address.client_options(), request_timeout_ms=int(timeout_seconds * 1_000))
    adopt(admin._client)
    try:
        await admin.start()
        return frozenset(await admin.list_topics())
    finally:
        await uninterrupted(admin.close())


def _raise_first_error(response: object) -> None:
    errors: list[tuple[str, int, str]] = response.topic_errors  # type: ignore[attr-defined]  # the driver has no types
    for _topic, code, *_message in errors:
        error: type[KafkaError] = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error
