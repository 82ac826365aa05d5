"""What is kept of a record that could not be taken in: a row for people, a message on `<topic>.dlq` for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID, uuid5

import msgspec

from app.application.ingestion.batch_planning import OffsetGap
from app.domain.entities import DeadLetter, OutboxMessage
from app.domain.interfaces import Partition, SourceRecord

MAX_KEPT_BYTES = 4_096
"""How much of a payload is kept: enough to see what it is, too little to fill a disk with one bad producer."""

KEPT_HEADERS = ("traceparent", "ce_id", "ce_type", "ce_source")
"""What travels on from the record's own headers. Anything else may be a secret of its producer."""

MAX_HEADER_CHARACTERS = 256
_NAMESPACE = UUID("0b9a0d52-7b3e-5c0e-9a52-6f3c4f0f8a01")


@dataclass(frozen=True, slots=True)
class RecordLocation:
    """Where a record was read, in which incarnation of its topic."""

    partition: Partition
    epoch: str


def letter_of(place: RecordLocation, record: SourceRecord, reason: str, now: datetime) -> DeadLetter:
    """The row of a record."""
    payload = bytes(record.value or b"")
    return DeadLetter(
        source="kafka",
        reason=reason,
        payload=payload[:MAX_KEPT_BYTES],
        sha256=sha256(payload).hexdigest(),
        received_at=now,
        topic=place.partition.topic,
        partition=place.partition.partition,
        offset=record.offset,
    )


def gap_letter(place: RecordLocation, gap: OffsetGap, now: datetime) -> DeadLetter:
    """The row that says which offsets nobody will ever see."""
    payload = msgspec.json.encode({"from_offset": gap.start, "to_offset": gap.end})
    return DeadLetter(
        source="kafka",
        reason=gap.reason,
        payload=payload,
        sha256=sha256(payload).hexdigest(),
        received_at=now,
        topic=place.partition.topic,
        partition=place.partition.partition,
        offset=gap.start,
    )


def message_of(place: RecordLocation, record: SourceRecord, letter: DeadLetter) -> OutboxMessage:
    """The message of a record, under the header names that Spring Kafka made common.

    https://docs.spring.io/spring-kafka/reference/kafka/annotation-error-handling.html#dead-letters
    """
    topic, partition = place.partition
    headers = {
        "content-type": "application/octet-stream",
        "ce_type": "DeadLetter",
        "kafka_dlt-original-topic": topic,
        "kafka_dlt-original-partition": str(partition),
        "kafka_dlt-original-offset": str(record.offset),
        "kafka_dlt-original-timestamp": str(record.timestamp),
        "kafka_dlt-exception-message": letter.reason,
        "kafka_dlt-payload-sha256": letter.sha256,
    }
    return OutboxMessage(
        message_id=uuid5(_NAMESPACE, f"{place.epoch}\0{topic}\0{partition}\0{record.offset}"),
        topic=f"{topic}.dlq",
        key=(record.key or b"")[:MAX_HEADER_CHARACTERS].decode("utf-8", "replace").replace("\0", "\ufffd"),
        payload=letter.payload,
        headers={**_kept(record), **headers},
        created_at=letter.received_at,
    )


def _kept(record: SourceRecord) -> Mapping[str, str]:
    kept = {}
    for name, value in record.headers:
        if name in KEPT_HEADERS:
            text = bytes(value or b"")[:MAX_HEADER_CHARACTERS].decode("utf-8", "replace")
            kept["original-" + name if name.startswith("ce_") else name] = text.replace("\0", "\ufffd")
    return kept
