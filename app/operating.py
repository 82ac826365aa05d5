"""What routes are handed that is made from settings alone, and what those for operators reach."""

from __future__ import annotations

import secrets
from datetime import timedelta

from app import telemetry
from app.api.dependencies import Batches, Operations
from app.api.fast_lane import FastLane
from app.api.jwks import KeySource
from app.api.limits import Bodies, BodyCaps, ConcurrencyLimiter, RateLimiter
from app.api.middleware import RequestGuards
from app.api.security import Authenticator
from app.api.tokens import TokenPolicy
from app.application.credentials import ApiKeys
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


def make_authenticator(container: Container, keys: KeySource) -> Authenticator:
    """Knows callers by tokens of these keys and by API keys."""
    settings = container.settings
    policy = TokenPolicy(
        settings.jwt_issuer, settings.jwt_audience, settings.jwt_leeway_seconds, settings.jwt_max_lifetime_seconds
    )
    api_keys = ApiKeys(container.database.api_keys, settings.environment, container.clock)
    return Authenticator(keys, policy, api_keys, container.clock, settings.token_cache_bytes)


def make_guards(
    settings: Settings, authenticator: Authenticator, limiter: RateLimiter, fast_lane: FastLane
) -> RequestGuards:
    """What the boundary decides with; how much of it is taken is a metric."""
    admission = ConcurrencyLimiter(settings.max_concurrent_requests)
    bodies = Bodies(
        BodyCaps(
            settings.max_bodies_per_person,
            settings.max_bodies_per_service,
            settings.max_bodies_per_address,
            settings.max_bodies_bytes,
        )
    )
    telemetry.BODIES_UNDER_WAY.set_function(lambda: bodies.count)
    telemetry.REQUESTS_IN_FLIGHT.set_function(lambda: admission.taken)
    return RequestGuards(authenticator, limiter, admission, bodies, fast_lane)
