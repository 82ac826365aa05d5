"""CloudEvents 1.0, Kafka binding, binary mode: the attributes as `ce_*` headers, the event itself as the value.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

from app.domain.entities import OutboxMessage

SOURCE = "/recommendation-service"


def event_type(topic: str) -> str:
    """`recommendation-service.model-training-started` → `ModelTrainingStarted`."""
    return "".join(word.capitalize() for word in topic.rsplit(".", 1)[-1].split("-"))


def binary_headers(message: OutboxMessage) -> list[tuple[str, bytes]]:
    """The record headers of a message: CloudEvents attributes, then its own headers, which win where both name one."""
    headers = {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": str(message.message_id),
        "ce_source": SOURCE,
        "ce_type": event_type(message.topic),
        "ce_time": message.created_at.isoformat().replace("+00:00", "Z"),
        **message.headers,
    }
    return [(name, value.encode()) for name, value in headers.items()]
