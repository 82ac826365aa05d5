"""What the routes for operators are handed."""

from __future__ import annotations

from datetime import timedelta

from app.api.dependencies import Operations
from app.application.ingestion.dead_letter_replay import DeadLetterReplay
from app.application.recommending.user_context import UserContextReader
from app.application.recommending.user_histories import UserHistories
from app.application.serving.model_server import ModelServer
from app.bootstrap import Container
from app.policies import signal_policy


def make_histories(container: Container, server: ModelServer) -> UserHistories:
    """Histories as ranking sees them."""
    settings = container.settings
    reader = UserContextReader(container.database, signal_policy(settings), settings.history_limit)
    return UserHistories(reader, server, container.clock)


def operations_of(container: Container) -> Operations:
    """What the routes for operators reach."""
    database, max_age = container.database, timedelta(days=container.settings.event_max_age_days)
    replay = DeadLetterReplay(database, container.cache, container.clock, max_age)
    return Operations(database.dead_letters, replay, database.audit, database.reports)
