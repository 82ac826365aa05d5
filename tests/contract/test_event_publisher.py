"""The contract of EventPublisher, over every adapter, through the production opener."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from app.domain.entities import OutboxMessage
from app.domain.exceptions import BrokerUnavailableError, ConfigurationError
from app.domain.interfaces import EventPublisher
from app.infrastructure.events import open_publisher
from app.infrastructure.events.memory_publisher import MemoryPublisher

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def message(number: int, key: str = "u1") -> OutboxMessage:
    return OutboxMessage(
        message_id=UUID(int=number),
        topic="recommendation-service.recommendations-refreshed",
        key=key,
        payload=b'{"n":%d}' % number,
        headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        created_at=AT,
    )


@pytest.fixture(params=["memory://", pytest.param("kafka", marks=pytest.mark.real_servers)])
def events_url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory://" else str(request.getfixturevalue("kafka_url"))


@pytest.fixture
async def publisher(events_url: str) -> AsyncIterator[EventPublisher]:
    opened = await open_publisher(events_url)
    yield opened
    await opened.close()


async def test_messages_are_published_in_the_order_given(publisher: EventPublisher) -> None:
    await publisher.publish([message(1), message(2)])
    await publisher.publish([message(3)])
    await publisher.ping()


async def test_publishing_nothing_does_nothing(publisher: EventPublisher) -> None:
    await publisher.publish([])


async def test_close_may_be_called_twice(publisher: EventPublisher) -> None:
    await publisher.publish([message(1)])
    await publisher.close()
    await publisher.close()


async def test_memory_keeps_the_last_messages_and_counts_all() -> None:
    publisher = MemoryPublisher(keep=2)
    await publisher.publish([message(1), message(2), message(3)])
    assert [kept.message_id.int for kept in publisher.messages] == [2, 3]
    assert publisher.total == 3


async def test_memory_refuses_after_close() -> None:
    publisher = MemoryPublisher()
    await publisher.close()
    with pytest.raises(BrokerUnavailableError):
        await publisher.publish([message(1)])


async def test_opening_does_not_wait_for_a_broker_and_publishing_says_that_it_is_gone() -> None:
    publisher = await open_publisher("kafka://127.0.0.1:1", timeout_seconds=1)
    with pytest.raises(BrokerUnavailableError):
        await publisher.publish([message(1)])
    with pytest.raises(BrokerUnavailableError):
        await publisher.ping()
    await publisher.close()


@pytest.mark.parametrize(
    "url",
    [
        "nats://127.0.0.1:4222",
        "kafka://",
        "kafka://broker",
        "kafka://broker:0",
        "kafka://broker:9092?acks=0",
        "kafka://broker:9092?security=NONE",
    ],
)
async def test_a_url_no_adapter_takes_is_refused_by_the_name_of_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ENCORE_EVENTS_URL") as refused:
        await open_publisher(url)
    assert "127.0.0.1" not in str(refused.value)


async def test_keys_are_erased_and_a_topic_nobody_has_is_left_so(publisher: EventPublisher) -> None:
    await publisher.publish([message(1), message(2, "u2"), message(3)])

    found = await publisher.erase(message(1).topic, ["u1", "u3"])

    assert found in {2, None}
    assert await publisher.erase("nobody-has-this", ["u1"]) in {0, None}
    if isinstance(publisher, MemoryPublisher):
        assert [one.key for one in publisher.messages] == ["u2"]
        assert await publisher.erase(message(1).topic, ["u1"]) == 0
