"""The AsyncAPI document is the one the code makes, holds together, and says of events what the decoder says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from app.application.ingestion.event_types import EVENT_TYPES, TOPICS
from app.application.outgoing.asyncapi import asyncapi_document
from app.application.outgoing.outgoing_events import OUTGOING_EVENTS

DOCUMENT = asyncapi_document(version("encore-recs"))
COMMITTED = Path(__file__).parents[2] / "docs" / "asyncapi.json"


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def resolve(reference: str) -> Any:
    node: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def test_the_committed_document_is_the_one_the_code_makes() -> None:
    assert json.loads(COMMITTED.read_text()) == DOCUMENT, "run: encore asyncapi > docs/asyncapi.json"


def test_every_reference_leads_somewhere() -> None:
    found = list(references(DOCUMENT))
    assert len(found) > 20
    assert all(resolve(reference) is not None for reference in found)


def test_every_topic_has_a_channel_and_an_operation() -> None:
    assert set(DOCUMENT["channels"]) == {*TOPICS, *(event.topic for event in OUTGOING_EVENTS), "deadLetters"}
    assert {f"receive{name}" for name in TOPICS.values()} <= set(DOCUMENT["operations"])
    assert {f"send{event.__name__}" for event in OUTGOING_EVENTS} <= set(DOCUMENT["operations"])


@pytest.mark.parametrize(
    ("event", "is_valid"),
    [
        ({"rating": 4.5}, True),
        ({"rating": 5.5}, False),
        ({"rating": "4"}, False),
        ({"rating": 4, "user_id": "a%b"}, False),
        ({"rating": 4, "later": 1}, True),
        ({}, False),
    ],
)
def test_the_schema_and_the_decoder_agree(event: dict[str, object], is_valid: bool) -> None:
    whole = {"user_id": "u1", "video_id": "v1", "timestamp": "2026-11-20T10:00:00Z", **event}
    schema = {"$ref": "#/components/schemas/VideoRated", "components": DOCUMENT["components"]}
    assert jsonschema_rs.is_valid(schema, whole) is is_valid
    try:
        msgspec.convert(whole, EVENT_TYPES["VideoRated"])
        assert is_valid
    except msgspec.ValidationError:
        assert not is_valid
