"""Which incarnation of a topic this is: the ids that a recreated topic, or another cluster, changes (V23).

The driver knows Metadata up to version 5; topic ids came with version 10 (KIP-516), so version 12 is spelled out here.
https://kafka.apache.org/protocol.html#The_Messages_Metadata
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from io import BytesIO
from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from app.infrastructure.events.kafka_driver import Client
from app.infrastructure.events.kafka_url import KafkaAddress
from app.infrastructure.uninterrupted import uninterrupted

NO_TOPIC_ID = bytes(16)


class Uuid(AbstractType):  # type: ignore[misc]  # the driver has no types
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class MetadataResponseV12(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class MetadataRequestV12(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = MetadataResponseV12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicIdsRequest(Request[MetadataRequestV12]):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[MetadataRequestV12]) -> Any:
        return request_struct_class([(NO_TOPIC_ID, topic, {}) for topic in self._topics], False, False, {})


# the base class reads the versions off a union of types; with a single one it finds none
TopicIdsRequest._CLASSES = (MetadataRequestV12,)


async def topic_epochs(address: KafkaAddress, topics: Collection[str], timeout_seconds: float) -> Mapping[str, str]:
    """Topic → `cluster id/topic id`; a broker that gives no ids makes every topic the same epoch. Raises KafkaError."""
    client = Client(**address.client_options(), request_timeout_ms=int(timeout_seconds * 1_000))
    try:
        await client.bootstrap()
        response = await client.send(client.get_random_node(), TopicIdsRequest(topics))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return dict.fromkeys(topics, "unknown")
    finally:
        await uninterrupted(client.close())
    return {name: f"{response.cluster_id}/{topic_id.hex()}" for _error, name, topic_id, *_rest in response.topics}
