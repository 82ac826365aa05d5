"""Events out and in. The scheme of the URL names the adapter: memory:// keeps messages here, kafka:// sends them."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from app.domain.exceptions import ConfigurationError
from app.domain.interfaces import EventPublisher, EventSource
from app.infrastructure.events.groups import GroupPolicy
from app.infrastructure.events.memory_publisher import MemoryPublisher

__all__ = ["GroupPolicy", "open_publisher", "open_source"]


async def open_publisher(url: str, *, timeout_seconds: float = 10.0) -> EventPublisher:
    """The publisher that `url` names. Never waits for a broker: the first `publish` or `ping` connects.

    Raises ConfigurationError for a URL no adapter takes.
    """
    match urlsplit(url).scheme:
        case "memory":
            return MemoryPublisher()
        case "kafka" | "kafka+ssl":
            # imported here so that a service on memory:// needs no Kafka driver
            from app.infrastructure.events.kafka_publisher import KafkaPublisher
            from app.infrastructure.events.kafka_url import parse_kafka_url

            return KafkaPublisher(parse_kafka_url(url), timeout_seconds)
        case _:
            raise ConfigurationError("ENCORE_EVENTS_URL", "must start with memory:// or kafka://")


async def open_source(
    url: str, topics: Collection[str], group: GroupPolicy, *, timeout_seconds: float = 10.0
) -> EventSource:
    """One member of a consumer group on the log that `url` names. The first `poll` connects.

    Raises ConfigurationError for a URL without a log: on memory:// events arrive over HTTP.
    """
    match urlsplit(url).scheme:
        case "kafka" | "kafka+ssl":
            from app.infrastructure.events.kafka_source import KafkaSource
            from app.infrastructure.events.kafka_url import parse_kafka_url

            return KafkaSource(parse_kafka_url(url), topics, group, timeout_seconds)
        case _:
            raise ConfigurationError("ENCORE_EVENTS_URL", "must start with kafka:// to consume")
