"""Identities of events that people send themselves: scoped to the person, so that nobody meets another's.

An id that a service or the log gives names one event in the whole world. Would an id of a person do so too, she could
learn by the answer whether another's event exists, and take its id before the real one comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid5

from app.application.ingestion.event_decoding import content_identity
from app.domain.entities import Interaction
from app.domain.keys import key_text
from app.domain.stores import InteractionStore

PERSONAL_NAMESPACE = UUID("3f2c9a0e-8d55-5b57-9b0a-5e0c2f4d7b21")


def personal_identity(user_id: str, event_id: UUID) -> UUID:
    """The identity of the event that this person calls `event_id`."""
    return uuid5(PERSONAL_NAMESPACE, key_text(user_id, event_id.hex))


async def identified(store: InteractionStore, user_id: str, events: Sequence[Interaction]) -> Sequence[Interaction]:
    """The events of this person under their identities. Raises DatabaseUnavailableError.

    An event without an id of its own is named by its content, which says whose it is. An id under which an event of
    this very person is stored as it is (from before ids were scoped, or from a service) keeps naming that event.
    """
    given = {event.event_id for event in events if event.event_id != _content_identity(event)}
    known = await store.known_ids(user_id, given) if given else ()
    scoped = given.difference(known)
    return [
        replace(event, event_id=personal_identity(user_id, event.event_id)) if event.event_id in scoped else event
        for event in events
    ]


def _content_identity(event: Interaction) -> UUID:
    return content_identity(
        event.user_id, event.item_id, event.kind, event.occurred_at, event.value, event.duration, event.device
    )
