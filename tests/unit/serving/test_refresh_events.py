"""Whoever listens is told of each personal list that was computed, once, and of no list from a cache."""

from __future__ import annotations

import msgspec

from app.application.outgoing.outbox_relay import BackgroundEvents
from app.application.recommending.refresh_events import publish_to
from app.domain.list_query import ListQuery
from app.infrastructure.events.memory_publisher import MemoryPublisher
from tests.unit.serving.world import World


async def test_a_computed_personal_list_is_told_once_and_one_from_the_cache_is_not(world: World) -> None:
    publisher = MemoryPublisher()
    told = BackgroundEvents(publisher, world.clock)
    world.hooks.refreshed = publish_to(told)
    await world.rate("somebody", "crime-05")

    page = await world.lists.recommend(ListQuery("somebody", limit=100))
    await world.lists.recommend(ListQuery("somebody", limit=5))
    assert await told.flush(1.0) == 0

    (message,) = publisher.messages
    event = msgspec.json.decode(message.payload)
    assert message.key == event["user_id"] == "somebody"
    assert event["recommendation_ids"] == [line.item_id for line in page.items]
    assert event["model_id"] == "model-1"


async def test_the_shared_list_of_those_without_a_history_is_nobodys_news(world: World) -> None:
    told = BackgroundEvents(MemoryPublisher(), world.clock)
    world.hooks.refreshed = publish_to(told)
    await world.lists.recommend(ListQuery("nobody"))
    assert len(told) == 0
