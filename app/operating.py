"""What routes are handed that is made from settings alone, and what those for operators reach."""

from __future__ import annotations

import secrets
from datetime import timedelta

from app import telemetry
from app.api.dependencies import Batches, Operations
from app.application.ingestion.dead_letter_replay import DeadLetterReplay
from app.application.recommending.user_context import UserContextReader
from app.application.recommending.user_histories import UserHistories
from app.application.serving.model_server import ModelServer
from app.bootstrap import Container
from app.config import Settings
from app.policies import signal_policy

log = telemetry.get_logger(__name__)


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


def batches_of(settings: Settings) -> Batches:
    """Events a request may hold: never more than the caller may send in a minute, or they could never be sent."""
    return Batches(
        person=min(settings.person_batch_events, settings.rate_limit_per_minute),
        service=min(settings.service_batch_events, settings.service_rate_limit_per_minute),
    )


def cursor_secret(settings: Settings) -> bytes:
    """What signs cursors: its own setting, else the token secret, else something that ends with this process."""
    for secret in (settings.cursor_secret, settings.jwt_secret):
        if secret is not None:
            return secret.get_secret_value().encode()
    log.warning("cursor_secret_is_temporary")
    return secrets.token_bytes(32)
