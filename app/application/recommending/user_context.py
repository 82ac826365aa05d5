"""Whom a list is for: the history, and the profile where the model has learnt from profiles."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from app.application.ranking.list_ranking import History, ranking_time
from app.application.ranking.serving_state import ServingState
from app.domain.entities import User
from app.domain.features import encode_users
from app.domain.signals import SignalPolicy, history_of
from app.domain.stores import Database

EVERYONE = "*everyone"
"""The segment of those of whom nothing is known; `*` cannot be in a user id."""


@dataclass(frozen=True, slots=True)
class UserContext:
    """What a list is ranked from."""

    history: History = ()
    profile: User | None = None


class UserContextReader:
    """Reads people: one indexed read for the history, and beside it the profile only if the model can use it."""

    def __init__(self, database: Database, signals: SignalPolicy, history_limit: int) -> None:
        self._interactions = database.interactions
        self._catalog = database.catalog
        self._signals = signals
        self._history_limit = history_limit

    async def user(self, user_id: str, serving: ServingState, now: datetime) -> UserContext:
        """History and profile; empty for somebody nobody knows. Raises DatabaseUnavailableError."""
        if not serving.user_feature_names:
            return UserContext(await self._history(user_id, now))
        history, profile = await asyncio.gather(self._history(user_id, now), self._catalog.get_user(user_id))
        return UserContext(history, profile)

    async def _history(self, user_id: str, now: datetime) -> History:
        states = await self._interactions.history(user_id, self._history_limit)
        return history_of(states, self._signals, ranking_time(now))


def segment_of(serving: ServingState, profile: User | None) -> str:
    """Those whose profiles say the same to the model share a segment, and its list."""
    if profile is None or not serving.user_feature_names:
        return EVERYONE
    features = encode_users([profile], serving.user_feature_names)
    if not features.nnz:
        return EVERYONE
    return f"*{blake2b(features.indices.tobytes(), digest_size=12).hexdigest()}"
