"""What can go wrong, as one tree.

EncoreError
├── ProblemError               an answer that is not a success (RFC 9457)
│   ├── InvalidRequestError    400, 413, 414, 415, 422, 431: sending it again does not help
│   ├── AuthenticationError    401
│   ├── PermissionDeniedError  403
│   ├── NotFoundError          404
│   ├── ConflictError          409
│   ├── RateLimitedError       429, with `retry_after_seconds`
│   ├── UnavailableError       503, with `retry_after_seconds`
│   └── ServerError            any other 5xx
├── ConnectionFailedError      no answer
│   └── NoAnswerInTimeError    … in time
├── EventRejectedError         the service cannot take this event in
└── BatcherClosedError         the batcher was closed before this event was known to be stored
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx


class EncoreError(Exception):
    """Anything this package raises."""


class ProblemError(EncoreError):
    """An answer that is no success. `type`: a stable URN; `errors`: {"in", "pointer", "code"} of each wrong field."""

    def __init__(self, status: int, document: Mapping[str, Any], retry_after_seconds: float | None) -> None:
        self.status = status
        self.document = document
        self.type = str(document.get("type", "about:blank"))
        self.title = str(document.get("title", "unexpected answer"))
        self.request_id: str | None = document.get("request_id")
        self.errors: Sequence[Mapping[str, str]] = document.get("errors") or ()
        self.retry_after_seconds = retry_after_seconds
        fields = "".join(f"; {found['in']}{found['pointer']}: {found['code']}" for found in self.errors)
        super().__init__(f"{status} {self.title}{fields}")


class InvalidRequestError(ProblemError):
    """The request is not acceptable."""


class AuthenticationError(ProblemError):
    """The credentials are missing or not valid."""


class PermissionDeniedError(ProblemError):
    """The credentials do not allow this."""


class NotFoundError(ProblemError):
    """Nothing by that name."""


class ConflictError(ProblemError):
    """The present state does not allow this."""


class RateLimitedError(ProblemError):
    """Too many requests."""


class UnavailableError(ProblemError):
    """A dependency of the service does not answer, or it is too busy."""


class ServerError(ProblemError):
    """Something went wrong over there."""


class ConnectionFailedError(EncoreError):
    """No answer."""


class NoAnswerInTimeError(ConnectionFailedError):
    """No answer in time."""


class EventRejectedError(EncoreError):
    """The service cannot take this event in. `reason`: a stable code; `field`: what it is about."""

    def __init__(self, reason: str, field: str | None) -> None:
        self.reason = reason
        self.field = field
        super().__init__(f"event rejected: {reason}" + (f" ({field})" if field else ""))


class BatcherClosedError(EncoreError):
    """Closed before this event was known to be stored: sending it again with its id is safe."""


_BY_STATUS: Mapping[int, type[ProblemError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitedError,
    503: UnavailableError,
}


def problem_of(response: httpx.Response) -> ProblemError:
    """The error of an answer; a body that is no problem document gives one all the same."""
    try:
        document = response.json()
    except ValueError:
        document = None
    kind = _BY_STATUS.get(response.status_code) or (ServerError if response.status_code >= 500 else InvalidRequestError)
    return kind(response.status_code, document if isinstance(document, dict) else {}, retry_after(response))


def retry_after(response: httpx.Response, now: datetime | None = None) -> float | None:
    """Seconds of `Retry-After` in either of its forms (RFC 9110 §10.2.3); None without one."""
    value: str = response.headers.get("retry-after", "")
    if value.isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    seconds: float = (at - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds)
