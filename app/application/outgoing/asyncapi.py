"""The AsyncAPI 3.0 document of Encore's topics, made from the classes that decode and encode the events.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.application.ingestion.event_types import EVENT_TYPES, TOPICS
from app.application.outgoing.outgoing_events import OUTGOING_EVENTS
from app.domain.identifiers import ID_PATTERN

Json = dict[str, Any]

_IN = "One event a message, JSON. Accepted: the bare event, CloudEvents 1.0 (binary or structured), and the 5-byte \
schema-registry frame. Key: the user id, or none. Fields that are not listed are ignored."
_OUT = "CloudEvents 1.0 in binary mode, at least once: `ce_id` tells a repetition. Events of one key keep their order."
_DEAD = "Messages that could not be taken in: the first 4 KiB of the payload as it came."

_CLOUDEVENT_HEADERS: Json = {
    "type": "object",
    "properties": {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string", "description": "Unique per event."},
        "ce_source": {"type": "string"},
        "ce_type": {"type": "string"},
        "ce_time": {"type": "string", "format": "date-time"},
        "traceparent": {"type": "string", "description": "W3C Trace Context."},
    },
}
_DEAD_HEADERS: Json = {
    "type": "object",
    "properties": {
        f"kafka_dlt-{name}": {"type": "string"}
        for name in (
            "original-topic",
            "original-partition",
            "original-offset",
            "original-timestamp",
            "exception-message",
            "payload-sha256",
        )
    },
}


def asyncapi_document(version: str) -> Json:
    """The whole document, ready for JSON."""
    shapes: Sequence[type[msgspec.Struct]] = [*EVENT_TYPES.values(), *OUTGOING_EVENTS]
    _, schemas = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    received = {topic: EVENT_TYPES[name].__name__ for topic, name in TOPICS.items()}
    sent = {event.topic: event.__name__ for event in OUTGOING_EVENTS}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Encore events",
            "version": version,
            "description": "What Encore takes in and gives out on Kafka.",
        },
        "defaultContentType": "application/json",
        "channels": {
            **{topic: _channel(topic, name) for topic, name in {**received, **sent}.items()},
            "deadLetters": {
                "address": "{topic}.dlq",
                "parameters": {"topic": {"description": "The topic a message came from.", "enum": sorted(received)}},
                "messages": {"DeadLetter": {"$ref": "#/components/messages/DeadLetter"}},
                "description": _DEAD,
            },
        },
        "operations": {
            **{f"receive{name}": _operation("receive", topic, name, _IN) for topic, name in received.items()},
            **{f"send{name}": _operation("send", topic, name, _OUT) for topic, name in sent.items()},
            "sendDeadLetter": _operation("send", "deadLetters", "DeadLetter", _DEAD),
        },
        "components": {"messages": _messages(received, sent), "schemas": _portable(dict(sorted(schemas.items())))},
    }


def _channel(topic: str, name: str) -> Json:
    return {"address": topic, "messages": {name: {"$ref": f"#/components/messages/{name}"}}}


def _operation(action: str, channel: str, name: str, description: str) -> Json:
    place = f"#/channels/{channel}"
    return {
        "action": action,
        "channel": {"$ref": place},
        "messages": [{"$ref": f"{place}/messages/{name}"}],
        "description": description,
    }


def _messages(received: Mapping[str, str], sent: Mapping[str, str]) -> Json:
    key = {"kafka": {"key": {"type": "string", "pattern": ID_PATTERN}}}
    messages: Json = {}
    for name in [*received.values(), *sent.values()]:
        messages[name] = {
            "name": name,
            "contentType": "application/json",
            "headers": _CLOUDEVENT_HEADERS,
            "payload": {"$ref": f"#/components/schemas/{name}"},
            "bindings": key,
        }
    messages["DeadLetter"] = {
        "name": "DeadLetter",
        "contentType": "application/octet-stream",
        "headers": _DEAD_HEADERS,
        "payload": {"type": "string", "contentEncoding": "binary", "maxLength": 4_096},
    }
    return messages


def _portable(node: Any) -> Any:
    """A copy in plain JSON types, without half surrogate pairs in patterns: not every engine takes those, and no valid
    UTF-8 holds one."""
    if isinstance(node, Mapping):
        return {key: _portable(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_portable(value) for value in node]
    return node.replace("\\ud800-\\udfff", "") if isinstance(node, str) else node
