"""The half of bootstrap that forgets people: what an erasure reaches, and the use case over it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING

from app.application.erasing.erasures import Erasures
from app.application.erasing.stores import Memory, Stores
from app.application.ingestion.event_types import PERSONAL_TOPICS
from app.application.outgoing.outgoing_events import RecommendationsRefreshed
from app.config import pseudonym_secret

if TYPE_CHECKING:  # bootstrap imports this module
    from app.bootstrap import Container


def erasure_stores(container: Container, memory: Sequence[Memory] = ()) -> Stores:
    """What an erasure reaches; `memory`: places in this process that hold something of people."""
    topics = (RecommendationsRefreshed.topic, *(f"{topic}.dlq" for topic in PERSONAL_TOPICS))
    return Stores(container.database, container.cache, container.artifacts, container.publisher, topics, memory)


def make_erasures(
    container: Container,
    stores: Stores,
    renew: Callable[[Collection[str]], Awaitable[object]] | None = None,
) -> Erasures:
    """The use case of forgetting people."""
    secret = pseudonym_secret(container.settings)
    return Erasures(stores, container.clock, secret, renew or container.cache.bump)
