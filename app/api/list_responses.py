"""Answering lists: the one place where a page becomes status, headers and body, for every route and the fast lane."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from starlette.responses import Response

from app import telemetry
from app.api.byte_cache import ByteCache
from app.api.cursors import Cursors
from app.api.limits import RateLimiter
from app.api.rendering import complete_body, render_page_head
from app.api.request_context import RequestContext
from app.api.v1.schemas.list_schemas import ListParams
from app.application.experimentation.assignments import Assignments
from app.application.experimentation.request_recorder import RequestRecorder
from app.application.recommending.live_lists import LiveList
from app.application.recommending.recommendation_service import RecommendationService
from app.domain.exceptions import NotFoundError, PermissionDeniedError, RateLimitedError
from app.domain.experiments import Assignment
from app.domain.keys import key_text
from app.domain.list_query import ListQuery, Page
from app.domain.rules import RerankOptions

HeaderList = list[tuple[bytes, bytes]]
MAKESHIFT = frozenset({"overloaded", "database_unavailable"})
"""Reasons of lists that stand in for the personal one only for the moment."""

PAGE_BYTES, ITEM_BYTES = 700, 200
"""What a page holds beside its bytes, as list memory counts it: the cache keeps it alive."""


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A whole answer."""

    status: int
    headers: HeaderList
    body: bytes


class UserLists:
    """`GET /api/v1/recs/{user_id}` once the caller is known and allowed."""

    def __init__(
        self,
        service: RecommendationService,
        limiter: RateLimiter,
        cursors: Cursors,
        assignments: Assignments,
        recorder: RequestRecorder,
        cache_bytes: int,
    ) -> None:
        self._service = service
        self._limiter = limiter
        self._cursors = cursors
        self._assignments = assignments
        self._recorder = recorder
        self._heads: ByteCache[int, tuple[Page, str, bytes]] = ByteCache(cache_bytes)

    async def answer(
        self, user_id: str, params: ListParams, call: RequestContext, headers: Sequence[tuple[bytes, bytes]]
    ) -> RawResponse:
        """One page as bytes, or 304. Raises as `page`."""
        page, assignment = await self.page(user_id, params, call)
        etag = page.etag if assignment is None else f"{page.etag}.{_arm_tag(assignment)}"
        binding = key_text(user_id, params.binding)
        return conditional_response(etag, self._head(page, user_id, binding, assignment), call, headers)

    async def page(self, user_id: str, params: ListParams, call: RequestContext) -> tuple[Page, Assignment | None]:
        """One page and the arm it is of: logged, and counted against the caller unless that is done already.

        Raises CursorError, NotFoundError, RateLimitedError and what the service raises.
        """
        started = time.perf_counter()
        assignment = self._assignment(user_id, params, call)
        query = _query(user_id, params, assignment)
        if params.cursor is None:
            page = await self._page(query, call)
        else:
            binding = key_text(user_id, params.binding)
            page = await self._next_page(query, self._cursors.open_bytes(binding, params.cursor), call)
        self._recorder.record(
            call.request_id,
            time.time(),
            user_id,
            "recs",
            page,
            seconds=time.perf_counter() - started,
            assignment=assignment,
            is_preview=params.variant is not None,
        )
        return page, assignment

    def erase(self, is_theirs: Callable[[str], bool]) -> int:
        """Forget the rendered pages of people who are to be forgotten: those of everybody, for they are soon made."""
        self._heads.clear()
        return 0

    async def live(self, user_id: str, params: ListParams) -> LiveList:
        """The first page as it is now, for readers who stay; logged when its bytes are made. Counts no request."""
        started = time.perf_counter()
        assignment = self._assignments.of(user_id)
        page = await self._service.recommend(_query(user_id, params, assignment))

        def body() -> bytes:
            request_id, seconds = os.urandom(12).hex(), time.perf_counter() - started
            self._recorder.record(
                request_id, time.time(), user_id, "live", page, seconds=seconds, assignment=assignment
            )
            return complete_body(self._head(page, user_id, key_text(user_id, params.binding), assignment), request_id)

        return LiveList(_live_id(page, assignment), body, page.fallback_reason in MAKESHIFT)

    def _assignment(self, user_id: str, params: ListParams, call: RequestContext) -> Assignment | None:
        """The user's own arm; for services that look at one, the arm they ask for. Raises NotFoundError."""
        if params.experiment_id is None:
            return self._assignments.of(user_id)
        if params.variant is not None:
            if call.principal is None or not call.principal.is_service:
                raise PermissionDeniedError
            arm = self._assignments.arm(params.experiment_id, params.variant)
            if arm is None:
                raise NotFoundError("experiment")
            return arm
        if not self._assignments.is_running(params.experiment_id):
            raise NotFoundError("experiment")
        return self._assignments.of(user_id)

    async def by_rules(self, query: ListQuery, call: RequestContext) -> RawResponse:
        """One page by rules that came with the request; nothing of it is kept here."""
        return public_response(await self._page(query, call), ("user_id", query.user_id), call, ())

    def public(
        self, page: Page, subject: tuple[str, str] | None, call: RequestContext, headers: Sequence[tuple[bytes, bytes]]
    ) -> RawResponse:
        """A page that is the same for everybody."""
        return conditional_response(
            page.etag, self._kept(page, "", lambda: render_page_head(page, subject, None)), call, headers
        )

    def _head(self, page: Page, user_id: str, binding: str, assignment: Assignment | None) -> bytes:
        def render() -> bytes:
            cursor = self._cursors.seal_bytes(binding, page.rest) if page.rest else None
            with telemetry.stage("render"):
                return render_page_head(page, ("user_id", user_id), cursor, assignment)

        return self._kept(page, key_text(binding, "" if assignment is None else _arm_tag(assignment)), render)

    def _kept(self, page: Page, binding: str, render: Callable[[], bytes]) -> bytes:
        """The page's bytes. The service hands out the same object while a list is fresh: rendered once, then kept."""
        kept = self._heads.get(id(page))
        if kept is not None and kept[0] is page and kept[1] == binding:
            return kept[2]
        head = render()
        size = len(head) + len(binding) + PAGE_BYTES + ITEM_BYTES * len(page.items)
        self._heads.put(id(page), (page, binding, head), size)
        return head

    async def _next_page(self, query: ListQuery, rest: bytes, call: RequestContext) -> Page:
        if call.principal is not None and call.quota is None:
            call.quota = await self._limiter.hit(call.principal.limit_key, call.principal.is_service)
        return await self._service.next_pages.page(query, rest)

    async def _page(self, query: ListQuery, call: RequestContext) -> Page:
        principal = call.principal
        if principal is None or call.quota is not None:
            return await self._service.recommend(query)
        limit = self._limiter.per_minute(principal.is_service)
        found = await self._service.answer(query, limit, principal.limit_key)
        # While the cache is away nobody but us counts.
        call.quota = found.quota or self._limiter.count_alone(principal.limit_key, principal.is_service)
        if found.page is None:
            raise RateLimitedError(call.quota.reset_seconds)
        return found.page


def _query(user_id: str, params: ListParams, assignment: Assignment | None) -> ListQuery:
    """What is asked, changed by the arm where the caller has left it open."""
    wanted: str = params.type
    shape, model_id = params.shape, None
    if assignment is not None:
        arm = assignment.arm
        model_id = arm.model_id
        if arm.list_type is not None and "type" not in params.model_fields_set:
            wanted = arm.list_type
        diversity = arm.diversity if params.diversity is None else params.shape.diversity
        if arm.rules or diversity != shape.diversity:
            shape = RerankOptions(diversity, arm.rules)
    return ListQuery(user_id, wanted, params.limit, params.offset, params.filters, params.explain, shape, model_id)


def _arm_tag(assignment: Assignment) -> str:
    return _tag(assignment.experiment_id, assignment.arm.name)


@lru_cache(maxsize=1_024)
def _tag(experiment_id: str, variant: str) -> str:
    return blake2b(key_text(experiment_id, variant).encode(), digest_size=6).hexdigest()


def _live_id(page: Page, assignment: Assignment | None) -> str:
    """A digest of what a reader sees: lines without their scores, which move with the time, and who made them."""
    digest = blake2b(digest_size=12)
    model = "" if page.model is None else page.model.model_id
    arm = "" if assignment is None else _arm_tag(assignment)
    digest.update(key_text(model, page.fallback_reason, arm, page.total, page.limit).encode())
    for item in page.items:
        reasons = [(reason.kind, reason.item_id) for reason in item.reasons]
        digest.update(key_text(item.item_id, item.source, repr(reasons)).encode() + item.card)
    return digest.hexdigest()


def public_response(
    page: Page, subject: tuple[str, str] | None, call: RequestContext, request_headers: Sequence[tuple[bytes, bytes]]
) -> RawResponse:
    """A page that is nobody's own."""
    return conditional_response(page.etag, render_page_head(page, subject, None), call, request_headers)


def conditional_response(
    etag: str, head: bytes, call: RequestContext, request_headers: Sequence[tuple[bytes, bytes]]
) -> RawResponse:
    """The page, or 304 where the caller holds it already (weak comparison, RFC 9110 §13.1.2)."""
    tag = f'W/"{etag}"'.encode()
    headers: HeaderList = [(b"etag", tag), (b"cache-control", b"private, no-cache")]
    if etag_matches(request_headers, tag):
        return RawResponse(304, headers, b"")
    body = complete_body(head, call.request_id)
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return RawResponse(200, headers, body)


def etag_matches(request_headers: Sequence[tuple[bytes, bytes]], tag: bytes) -> bool:
    """True if `If-None-Match` names this weak tag, or any."""
    for name, value in request_headers:
        if name == b"if-none-match":
            opaque = tag.removeprefix(b"W/")
            return any(entry.strip().removeprefix(b"W/") in (opaque, b"*") for entry in value.split(b","))
    return False


def to_response(answer: RawResponse) -> Response:
    """A ready answer as the framework wants it."""
    response = Response(answer.body, answer.status)
    response.raw_headers = answer.headers
    return response
