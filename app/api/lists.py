"""Answering lists: the one place where a page becomes status, headers and body, for every route and the fast lane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from app.api.cursors import Cursors
from app.api.exchange import Call
from app.api.limits import RateLimiter
from app.api.rendering import page_body
from app.api.v1.schemas.lists import MAX_OFFSET, ListParams
from app.application.lists import ListQuery, Page, RateLimit
from app.application.recommendation import RecommendationService
from app.domain.exceptions import CursorError

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes


class UserLists:
    """`GET /api/v1/recs/{user_id}` once the caller is known and allowed."""

    def __init__(self, service: RecommendationService, limiter: RateLimiter, cursors: Cursors) -> None:
        self._service = service
        self._limiter = limiter
        self._cursors = cursors

    async def answer(
        self, user_id: str, params: ListParams, call: Call, headers: Sequence[tuple[bytes, bytes]]
    ) -> Answer:
        """One page, counted against the caller unless that is done already.

        Raises CursorError, RateLimitedError and what the service raises.
        """
        binding = f"{user_id} {params.binding}"
        offset = params.offset
        if params.cursor is not None:
            offset = position(self._cursors.open(binding, params.cursor))
        page = await self._service.recommend(self._query(user_id, params, offset, call))
        self._note_quota(page, call)
        following = page.offset + len(page.items)
        is_last = following >= page.total or not page.items
        cursor = None if is_last else self._cursors.seal(binding, str(following))
        return conditional(page, ("user_id", user_id), cursor, call, headers)

    def _query(self, user_id: str, params: ListParams, offset: int, call: Call) -> ListQuery:
        rate = None
        if call.principal is not None and call.quota is None:
            rate = RateLimit(call.principal.limit_key, self._limiter.per_minute(call.principal.is_service))
        return ListQuery(user_id, params.type, params.limit, offset, params.filters, params.explain, rate)

    def _note_quota(self, page: Page, call: Call) -> None:
        """The service counted in its cache round trip; while the cache is away nobody but us counts."""
        if call.principal is not None and call.quota is None:
            principal = call.principal
            call.quota = page.quota or self._limiter.count_alone(principal.limit_key, principal.is_service)


def position(text: str) -> int:
    """The offset in a cursor of ours. Raises CursorError if it is of another kind of list."""
    if not text.isdecimal() or int(text) > MAX_OFFSET:
        raise CursorError
    return int(text)


def conditional(
    page: Page,
    subject: tuple[str, str] | None,
    next_cursor: str | None,
    call: Call,
    request_headers: Sequence[tuple[bytes, bytes]],
) -> Answer:
    """The page, or 304 where the caller holds it already (weak comparison, RFC 9110 §13.1.2)."""
    tag = f'W/"{page.etag}"'.encode()
    headers: Headers = [(b"etag", tag), (b"cache-control", b"private, no-cache")]
    if holds(request_headers, tag):
        return Answer(304, headers, b"")
    body = page_body(page, subject, next_cursor, call.request_id)
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return Answer(200, headers, body)


def holds(request_headers: Sequence[tuple[bytes, bytes]], tag: bytes) -> bool:
    """True if `If-None-Match` names this weak tag, or any."""
    for name, value in request_headers:
        if name == b"if-none-match":
            opaque = tag.removeprefix(b"W/")
            return any(entry.strip().removeprefix(b"W/") in (opaque, b"*") for entry in value.split(b","))
    return False


def response_of(answer: Answer) -> Response:
    """A ready answer as the framework wants it."""
    response = Response(answer.body, answer.status)
    response.raw_headers = answer.headers
    return response
