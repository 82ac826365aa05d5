"""Client of the Encore recommendation service."""

from encore_client import models, ops
from encore_client.batcher import AsyncEventBatcher, BatcherOptions, EventBatcher
from encore_client.clients import AsyncEncore, Encore
from encore_client.errors import (
    AuthenticationError,
    BatcherClosedError,
    ConflictError,
    ConnectionFailedError,
    EncoreError,
    EventRejectedError,
    InvalidRequestError,
    NoAnswerInTimeError,
    NotFoundError,
    PermissionDeniedError,
    ProblemError,
    RateLimitedError,
    ServerError,
    UnavailableError,
)
from encore_client.live import LiveUpdate
from encore_client.rules import RetryPolicy

__all__ = [
    "AsyncEncore",
    "AsyncEventBatcher",
    "AuthenticationError",
    "BatcherClosedError",
    "BatcherOptions",
    "ConflictError",
    "ConnectionFailedError",
    "Encore",
    "EncoreError",
    "EventBatcher",
    "EventRejectedError",
    "InvalidRequestError",
    "LiveUpdate",
    "NoAnswerInTimeError",
    "NotFoundError",
    "PermissionDeniedError",
    "ProblemError",
    "RateLimitedError",
    "RetryPolicy",
    "ServerError",
    "UnavailableError",
    "models",
    "ops",
]
