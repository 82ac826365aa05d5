"""Telling others that a user's list was made anew: RecommendationsRefreshed, in the background."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from app import spans
from app.application.outgoing.outbox_relay import BackgroundEvents
from app.application.outgoing.outgoing_events import RecommendationsRefreshed
from app.application.ranking.serving_state import ServingState
from app.domain.ranked_list import RankedList

RefreshListener = Callable[[str, ServingState, RankedList], None]
"""Called with the user, what served, and the list, each time a personal list was computed. Must not block."""


def no_op_listener(user_id: str, serving: ServingState, ranked: RankedList) -> None:
    """Nobody is told."""


def publish_to(events: BackgroundEvents) -> RefreshListener:
    """Queue one event a list; a full queue drops the oldest."""

    def tell(user_id: str, serving: ServingState, ranked: RankedList) -> None:
        ids = serving.view.ids.ids
        event = RecommendationsRefreshed(
            user_id=user_id,
            recommendation_ids=tuple(ids[position] for position in ranked.positions.tolist()),
            model_id=None if serving.model is None else serving.model.model_id,
            timestamp=datetime.fromtimestamp(ranked.as_of, UTC),
            explored_place=None if ranked.slot < 0 else ranked.slot,
            propensity=ranked.propensity,
        )
        events.offer(event, spans.traceparent())

    return tell
