"""The boundary every request crosses, as plain ASGI: envelope, credentials, rate limit, admission, deadline.

Outside the framework's routing, so that nothing is parsed for somebody who may not ask. Refusals are values or errors
of ours and leave as problem documents; whatever else escapes from a route becomes a 500 that says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

from opentelemetry.trace import Span
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Receive, Scope, Send

from app import spans, telemetry
from app.api import envelope, problems
from app.api.fast_lane import FastLane
from app.api.limits import Bodies, ConcurrencyLimiter, RateLimiter
from app.api.problems import Problem, problem_of
from app.api.request_context import (
    BodyTooLargeError,
    ClientGoneError,
    Exchange,
    RequestContext,
    RequestLimits,
    request_id_from,
    state_of,
)
from app.api.routing import allow_header
from app.api.security import Authenticator, presented_credentials
from app.domain.exceptions import AuthenticationError, EncoreError

PROBES = frozenset({"/health", "/health/live", "/health/ready"})
"""Never counted, never shed: probes must get through when nobody else does."""

CLIENT_GONE = 499
"""What is counted for a request whose client hung up before it was whole; nobody is told."""

IPV4_INSIDE = tuple(map(IPv6Network, ("::ffff:0:0/96", "::/96", "64:ff9b::/96")))
"""Mapped and compatible addresses (RFC 4291 §2.5.5) and the prefix of translators (RFC 6052)."""

LIST_PREFIXES = ("/api/v1/recs/", "/recommendations/")
"""Where users' lists are read: here, and in the posts system (app/api/compat)."""
UNMATCHED = "<unmatched>"
UNTRACED = PROBES | {"/metrics"}
"""Probes and scrapers ask every few seconds, and nobody looks for the cause of that."""

log = telemetry.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RequestGuards:
    """What decides about requests; made when the application starts."""

    authenticator: Authenticator
    limiter: RateLimiter
    admission: ConcurrencyLimiter
    bodies: Bodies
    lane: FastLane


class BoundaryMiddleware:
    """Around the framework: takes every HTTP request, hands on those that may ask."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        bounds: RequestLimits,
        methods_at: Callable[[str], frozenset[str]],
        uncounted: Collection[str] = PROBES,
    ) -> None:
        self._app = app
        self._uncounted = uncounted
        self._bounds = bounds
        self._methods_at = methods_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        method = scope["method"]
        call = RequestContext(request_id_from(scope["headers"]), address=client_address(scope))
        exchange = Exchange(scope, receive, send, call, self._cap(scope["path"]))
        if b"%" in scope["raw_path"]:
            with suppress(UnicodeDecodeError):  # refused in a moment
                scope["path"] = envelope.routable(scope["raw_path"])
        if method == "HEAD":  # answered as GET; the exchange drops the body
            scope = {**scope, "method": "GET"}
        scope.setdefault("state", {}).update(call=call, exchange=exchange, bounds=self._bounds)
        with (
            spans.request(traceparent_in(scope["headers"])) if scope["path"] not in UNTRACED else spans.NO_SPAN as made
        ):
            await self._guarded(scope, exchange, call)
            if made is not None:
                describe_request(made, method, scope, exchange.status)
            observe_request(method, scope, exchange.status, time.perf_counter() - started)

    async def _guarded(self, scope: Scope, exchange: Exchange, call: RequestContext) -> None:
        """Answer, whatever happens."""
        try:
            problem = self._envelope_problem(scope)
            if problem is None:
                await self._serve(scope, exchange, call)
                return
        except EncoreError as error:
            problem = count_refusal(problem_of(error), scope)
        except TimeoutError:
            problem = self._timed_out(exchange)
        except BodyTooLargeError:
            problem = Problem(problems.TOO_LARGE)
        except ClientGoneError:
            exchange.status = CLIENT_GONE
            return
        except Exception:
            log.exception("request_failed", request_id=call.request_id, route=route_template(scope))
            problem = Problem(problems.INTERNAL)
        finally:
            exchange.release()
        await exchange.refuse(problem)

    def _envelope_problem(self, scope: Scope) -> Problem | None:
        problem = envelope.host_refusal(scope) or envelope.envelope_problem(scope, self._bounds.envelope)
        if problem is not None:
            return problem
        if envelope.declared_length(scope["headers"]) > self._cap(scope["path"]):
            return Problem(problems.TOO_LARGE, headers=envelope.CLOSE)
        if scope["method"] in envelope.KNOWN_METHODS and scope["method"] != "OPTIONS":
            return None
        allowed = self._methods_at(scope["path"])
        return wrong_method(allowed) if scope["method"] != "OPTIONS" or not allowed else None

    async def _serve(self, scope: Scope, exchange: Exchange, call: RequestContext) -> None:
        if scope["method"] == "OPTIONS":
            await exchange.answer(204, [allow_header(self._methods_at(scope["path"]))], b"")
            return
        async with exchange.within(self._bounds.deadline_seconds):
            if scope["path"] not in self._uncounted and await self._admitted(scope, exchange, call):
                return
            await self._app(scope, exchange.receive, exchange.send)

    async def _admitted(self, scope: Scope, exchange: Exchange, call: RequestContext) -> bool:
        """Identify, count and admit; True if the request is answered by then. A body is waited for by the route."""
        gateway: RequestGuards = state_of(scope).gateway
        await identify(gateway, scope, call)
        is_user_read = scope["method"] == "GET" and scope["path"].startswith(LIST_PREFIXES)
        if not exchange.has_body:
            await exchange.admit(gateway.admission, is_user_read)
        if is_user_read and not exchange.has_body and await gateway.lane.answered(scope, exchange, call):
            return True
        await count_request(gateway, call)
        return False

    def _timed_out(self, exchange: Exchange) -> Problem:
        if exchange.is_receiving:
            return Problem(problems.TIMEOUT, headers=envelope.CLOSE)
        telemetry.REQUESTS_SHED.labels("deadline").inc()
        return Problem(problems.DEADLINE, headers=(problems.retry_after(1.0),))

    def _cap(self, path: str) -> int:
        return self._bounds.max_bulk_body_bytes if path in self._bounds.bulk_paths else self._bounds.max_body_bytes


async def identify(gateway: RequestGuards, scope: Scope, call: RequestContext) -> None:
    """Put the principal into the call, or count a stranger. Raises AuthenticationError for bad credentials."""
    credentials = presented_credentials(scope["headers"])
    if credentials is not None:
        call.principal = gateway.authenticator.remembered(credentials)
        if call.principal is not None:
            return
    if credentials is None:
        call.quota = await gateway.limiter.hit_stranger(call.address)
        return
    try:
        call.principal = await gateway.authenticator.verify(credentials, gateway.limiter.is_blocked(call.address))
    except AuthenticationError:
        telemetry.AUTHENTICATION_FAILURES.labels("credentials").inc()
        call.quota = await gateway.limiter.hit_stranger(call.address)
        raise


async def count_request(gateway: RequestGuards, call: RequestContext) -> None:
    """Count a known caller's request."""
    if call.principal is not None:
        call.quota = await gateway.limiter.hit(call.principal.limit_key, call.principal.is_service)
    call.is_uncounted = gateway.limiter.is_degraded


def count_refusal(problem: Problem, scope: Scope) -> Problem:
    """Count refusals that operators watch."""
    if problem.type is problems.RATE_LIMITED:
        telemetry.RATE_LIMITED.labels("caller" if scope["state"]["call"].principal else "address").inc()
    return problem


def client_address(scope: Scope) -> str:
    """Whom strangers are counted by: the peer, an IPv6 peer by its /64 (one subscriber has all of it).

    An IPv6 address that stands for an IPv4 one is counted as that: all of them lie in one /64.
    """
    host = (scope.get("client") or ("unknown",))[0]
    if ":" not in host:
        return str(host)
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if any(address in network for network in IPV4_INSIDE) and int(address) & 0xFFFF_FFFF > 1:
        return str(IPv4Address(int(address) & 0xFFFF_FFFF))
    return str(IPv6Address(int(address) >> 64 << 64))


def traceparent_in(headers: Collection[tuple[bytes, bytes]]) -> str | None:
    """The trace the caller is in. Two of them are none: the recommendation allows one."""
    found = [value for name, value in headers if name == b"traceparent"]
    return found[0].decode("latin-1") if len(found) == 1 else None


def wrong_method(allowed: Collection[str]) -> Problem:
    """405 with what would work, or 404 where nothing is."""
    if not allowed:
        return Problem(problems.NOT_FOUND)
    return Problem(problems.METHOD_NOT_ALLOWED, headers=(allow_header(allowed),))


def route_template(scope: Scope) -> str:
    """The route's template: the only form in which a path may reach logs and metrics."""
    route: Any = scope.get("route")
    return getattr(route, "path", UNMATCHED)


def observe_request(method: str, scope: Scope, status: int, seconds: float) -> None:
    """Count and time one answer."""
    counted, timed = request_meters(
        method if method in envelope.KNOWN_METHODS else "<other>", route_template(scope), status
    )
    counted.inc()
    timed.observe(seconds, spans.exemplar())


def describe_request(made: Span, method: str, scope: Scope, status: int) -> None:
    """What the span of a request says: its route's template, never the path or the query.

    https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span
    """
    is_known, route = method in envelope.KNOWN_METHODS, route_template(scope)
    made.set_attribute("http.request.method", method if is_known else "_OTHER")
    made.set_attribute("http.response.status_code", status)
    made.update_name(method if is_known else "HTTP")
    if route != UNMATCHED:
        made.set_attribute("http.route", route)
        made.update_name(f"{method} {route}")
    if status >= 500:
        spans.failed(made, str(status))


@cache  # bounded: methods, templates and statuses are ours; looking children up costs more than counting
def request_meters(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """What counts and times such answers."""
    return telemetry.REQUESTS.labels(method, route, str(status)), telemetry.REQUEST_SECONDS.labels(method, route)
