"""Every non-2xx answer: RFC 9457 problem documents with a fixed type and title, and the one table that chooses them.

Nothing of the request is repeated and no exception is quoted: a pointer names the field, a code names the rule.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.api.strict_json import MalformedJsonError
from app.domain import exceptions as errors

TYPE_PREFIX = "urn:problem-type:encore:"
MEDIA_TYPE = b"application/problem+json"
MAX_FIELD_ERRORS = 10
FREE_FORM = frozenset({"attributes"})
"""Fields whose member names come from the sender: a pointer stops there."""

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem: what never varies between two of its occurrences."""

    slug: str
    status: int
    title: str


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one part: `where` is path, query, header or body; `code` a stable word for the rule."""

    where: str
    pointer: str
    code: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One occurrence. `extra` are further members (RFC 9457 §3.2): our own ids and words only."""

    type: ProblemType
    fields: tuple[FieldError, ...] = ()
    headers: Headers = ()
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return self.type.status


BAD_REQUEST = ProblemType("bad-request", 400, "The request is malformed")
AMBIGUOUS_CREDENTIALS = ProblemType("ambiguous-credentials", 400, "More than one credential was sent")
MALFORMED_JSON = ProblemType("malformed-json", 400, "The body is not well-formed JSON")
INVALID_CURSOR = ProblemType("invalid-cursor", 400, "The cursor is not valid for this list")
EXPIRED_CURSOR = ProblemType("expired-cursor", 400, "The cursor has expired: begin again without it")
UNAUTHENTICATED = ProblemType("invalid-token", 401, "The credentials are missing or not valid")
FORBIDDEN = ProblemType("forbidden", 403, "These credentials do not allow this")
NOT_FOUND = ProblemType("not-found", 404, "There is nothing here by that name")
METHOD_NOT_ALLOWED = ProblemType("method-not-allowed", 405, "This method is not allowed here")
TIMEOUT = ProblemType("request-timeout", 408, "The request did not arrive in time")
CONFLICT = ProblemType("conflict", 409, "The present state does not allow this")
TRAINING_RUNNING = ProblemType("training-running", 409, "A training of this model type is queued or running")
IDEMPOTENCY = ProblemType("idempotency-key-reused", 409, "The Idempotency-Key was used with another body")
USER_ERASED = ProblemType(
    "user-erased", 409, "This user was erased after these events; what happens from now on is taken in"
)
STALE = ProblemType("overtaken", 409, "Somebody else changed this in the meantime")
UNSERVABLE_MODEL = ProblemType("unservable-model", 409, "The model's artifact is missing or damaged")
PRECONDITION = ProblemType("precondition-failed", 412, "This is not what If-Match or If-None-Match says")
TOO_LARGE = ProblemType("body-too-large", 413, "The body is too large")
URI_TOO_LONG = ProblemType("uri-too-long", 414, "The address is too long")
UNSUPPORTED_MEDIA = ProblemType("unsupported-media-type", 415, "The body must be plain UTF-8 JSON")
INVALID = ProblemType("invalid-request", 422, "Some part of the request is not acceptable")
UPGRADE_REQUIRED = ProblemType("upgrade-required", 426, "Only a WebSocket can be opened here")
RATE_LIMITED = ProblemType("rate-limited", 429, "Too many requests")
HEADERS_TOO_LARGE = ProblemType("headers-too-large", 431, "The headers are too large or too many")
INTERNAL = ProblemType("internal-error", 500, "Something went wrong on our side")
UNAVAILABLE = ProblemType("unavailable", 503, "A dependency does not answer; try again")
OVERLOADED = ProblemType("overloaded", 503, "Too busy at the moment; try again")
NOT_READY = ProblemType("not-ready", 503, "No list can be served at the moment")
DEADLINE = ProblemType("deadline-exceeded", 503, "The answer took too long; try again")

BY_ERROR: Mapping[type[Exception], ProblemType] = {
    errors.InputError: INVALID,
    errors.CursorError: INVALID_CURSOR,
    errors.ExpiredCursorError: EXPIRED_CURSOR,
    MalformedJsonError: MALFORMED_JSON,
    errors.NotFoundError: NOT_FOUND,
    errors.ConflictError: CONFLICT,
    errors.TrainingRunningError: TRAINING_RUNNING,
    errors.IdempotencyError: IDEMPOTENCY,
    errors.StaleTokenError: STALE,
    errors.UserErasedError: USER_ERASED,
    errors.PreconditionError: PRECONDITION,
    errors.AuthenticationError: UNAUTHENTICATED,
    errors.PermissionDeniedError: FORBIDDEN,
    errors.RateLimitedError: RATE_LIMITED,
    errors.UnavailableError: UNAVAILABLE,
    errors.OverloadedError: OVERLOADED,
    errors.ArtifactError: UNSERVABLE_MODEL,
    errors.TrainingError: CONFLICT,
    Exception: INTERNAL,
}
"""Looked up along the error's MRO: the most specific entry wins, and everything else is an internal error."""

BY_STATUS: Mapping[int, ProblemType] = {
    400: BAD_REQUEST,
    401: UNAUTHENTICATED,
    403: FORBIDDEN,
    404: NOT_FOUND,
    405: METHOD_NOT_ALLOWED,
    413: TOO_LARGE,
    415: UNSUPPORTED_MEDIA,
    422: INVALID,
    503: UNAVAILABLE,
}
"""For refusals that the framework makes, which know a status only."""

CHALLENGE = (b"www-authenticate", b'Bearer realm="encore", error="invalid_token"')


def retry_after(seconds: float) -> tuple[bytes, bytes]:
    """The header, in whole seconds and never 0 (RFC 9110 §10.2.3)."""
    return (b"retry-after", str(max(1, math.ceil(seconds))).encode())


def problem_type(error: BaseException) -> ProblemType:
    """The entry of the most specific class of the error that the table has."""
    return next((BY_ERROR[cls] for cls in type(error).__mro__ if cls in BY_ERROR), INTERNAL)


def problem_of(error: BaseException) -> Problem:
    """The problem an error of ours becomes."""
    problem = Problem(problem_type(error))
    match error:
        case errors.EventRejectedError():
            return replace(problem, fields=(FieldError("body", pointer((error.field,)), error.reason),))
        case errors.CursorError():
            code = "expired" if isinstance(error, errors.ExpiredCursorError) else "invalid"
            return replace(problem, fields=(FieldError("query", "#/cursor", code),))
        case errors.InputError(field=str(name)):
            return replace(problem, fields=(FieldError("body", pointer((name,)), "invalid"),))
        case errors.NotFoundError():
            return replace(problem, extra={"resource": error.what})
        case errors.TrainingRunningError():
            return replace(problem, extra={"training_id": error.training_id})
        case errors.AuthenticationError():
            return replace(problem, headers=(CHALLENGE,))
        case errors.RateLimitedError():
            left = (b"ratelimit", b'"default";r=0;t=%d' % math.ceil(error.retry_after_seconds))
            return replace(problem, headers=(retry_after(error.retry_after_seconds), left))
        case errors.UnavailableError():
            return replace(problem, headers=(retry_after(error.retry_after_seconds),))
    return problem


def invalid(found: Sequence[Mapping[str, Any]]) -> Problem:
    """The problem of a request that the schemas refuse. `found` is what pydantic lists: loc, type, and input."""
    fields = tuple(_field_error(entry) for entry in found[:MAX_FIELD_ERRORS])
    return Problem(INVALID, fields=fields)


def pointer(parts: Sequence[object]) -> str:
    """An RFC 6901 pointer in its URI form: ("events", 3, "rating") → `#/events/3/rating`."""
    return "#" + "".join("/" + str(part).strip("/") for part in parts if part is not None)


def _field_error(entry: Mapping[str, Any]) -> FieldError:
    where, *parts = entry["loc"] or ("body",)
    code = str(entry["type"])
    if code == "extra_forbidden":
        parts = parts[:-1]  # the last part is the name the sender made up
    for position, part in enumerate(parts):
        if part in FREE_FORM:
            parts = parts[: position + 1]
            break
    return FieldError(str(where), pointer(parts), code)


def render(problem: Problem, request_id: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """(headers, body) of the answer."""
    document: dict[str, object] = {
        "type": TYPE_PREFIX + problem.type.slug,
        "title": problem.type.title,
        "status": problem.type.status,
        "request_id": request_id,
        **problem.extra,
    }
    if problem.fields:
        document["errors"] = [
            {"in": found.where, "pointer": found.pointer, "code": found.code} for found in problem.fields
        ]
    body = json.dumps(document, separators=(",", ":")).encode()
    headers = [(b"content-type", MEDIA_TYPE), (b"content-length", str(len(body)).encode()), *problem.headers]
    return headers, body
