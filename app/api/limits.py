"""How much: hits a minute by caller (through the cache port); bodies and requests at once (in this process)."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from app import telemetry
from app.domain.exceptions import CacheUnavailableError, OverloadedError, RateLimitedError
from app.domain.interfaces import Cache, RateLimitStatus

K = TypeVar("K")
V = TypeVar("V")

WINDOW_SECONDS = 60
TRACKED_CALLERS = 20_000
"""Callers counted in process memory while the cache is away, and addresses remembered as blocked."""

MAX_QUEUE_SECONDS = 0.05
"""How long a request may wait for a place before it is shed."""

RESERVED_FOR_READS = 0.25
"""The share of places that only reads of a user's list may take: those are shed last."""


class RateLimiter:
    """Counts requests over a sliding minute. While the cache is away it counts alone; `is_degraded` says so.

    Alone means: each of `replicas` processes allows its share, rounded up, so that together they allow about as much.
    """

    def __init__(
        self,
        cache: Cache,
        person: int,
        service: int,
        monotonic: Callable[[], float] = time.monotonic,
        replicas: int = 1,
    ) -> None:
        self._cache = cache
        self._person = person
        self._service = service
        self._monotonic = monotonic
        self._replicas = replicas
        self._local: dict[str, tuple[float, int]] = {}
        self._blocked: dict[str, float] = {}
        self.is_degraded = False

    def per_minute(self, is_service: bool) -> int:
        """How many requests a caller may make in a minute."""
        return self._service if is_service else self._person

    async def hit(self, limit_key: str, is_service: bool = False, cost: int = 1) -> RateLimitStatus:
        """Count a request, or `cost` events, of this caller: all or none. Raises RateLimitedError for too many."""
        try:
            quota = await self._cache.hit(limit_key, self.per_minute(is_service), cost)
        except CacheUnavailableError:
            return self.count_alone(limit_key, is_service, cost)
        self.is_degraded = False
        return require_quota(quota)

    def count_alone(self, limit_key: str, is_service: bool = False, cost: int = 1) -> RateLimitStatus:
        """Count in process memory: a fixed window per caller. Raises RateLimitedError for too many."""
        self.is_degraded = True
        now, limit = self._monotonic(), math.ceil(self.per_minute(is_service) / self._replicas)
        started, count = self._local.get(limit_key, (now, 0))
        if now - started >= WINDOW_SECONDS:
            started, count = now, 0
        allowed = count + cost <= limit
        if allowed:
            count += cost
        if limit_key not in self._local:
            evict_oldest(self._local, TRACKED_CALLERS)
        self._local[limit_key] = (started, count)
        return require_quota(RateLimitStatus(limit, limit - count, WINDOW_SECONDS - (now - started), allowed))

    async def hit_stranger(self, address: str) -> RateLimitStatus:
        """Count one request without accepted credentials; once refused, an address is refused without asking again."""
        if self.is_blocked(address):
            raise RateLimitedError(self._blocked[address] - self._monotonic())
        try:
            return await self.hit("address:" + address)
        except RateLimitedError as error:
            evict_oldest(self._blocked, TRACKED_CALLERS)
            self._blocked[address] = self._monotonic() + error.retry_after_seconds
            raise

    def is_blocked(self, address: str) -> bool:
        """True while an address has used up its requests without accepted credentials."""
        return self._blocked.get(address, 0.0) > self._monotonic()


def require_quota(quota: RateLimitStatus) -> RateLimitStatus:
    """The quota itself, or RateLimitedError where it is used up."""
    if not quota.allowed:
        raise RateLimitedError(quota.reset_seconds)
    return quota


def evict_oldest(table: dict[K, V], size: int) -> None:
    """Forget the oldest entry of a full table: every table that strangers can fill has a bound."""
    if len(table) >= size:
        del table[next(iter(table))]


def quota_headers(quota: RateLimitStatus) -> list[tuple[bytes, bytes]]:
    """draft-ietf-httpapi-ratelimit-headers-10: the policy, and what is left of it."""
    return [
        (b"ratelimit-policy", b'"default";q=%d;w=%d' % (quota.limit, WINDOW_SECONDS)),
        (b"ratelimit", b'"default";r=%d;t=%d' % (quota.remaining, math.ceil(quota.reset_seconds))),
    ]


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose body it is: the caller's limit key, and the address it comes from."""

    limit_key: str
    is_service: bool
    address: str


@dataclass(frozen=True, slots=True)
class BodyCaps:
    """How many bodies may be under way at once, and how many bytes of them may be held."""

    per_person: int
    per_service: int
    per_address: int
    total_bytes: int


class Bodies:
    """The bodies that have begun to come and are not whole. A body that comes in one piece is never one of them.

    They hold memory and no place (`Admission`): so they are capped, by caller, by address and in bytes. No caller holds
    more than a quarter of the bytes.
    """

    def __init__(self, caps: BodyCaps) -> None:
        self._caps = caps
        self._by_caller: Counter[str] = Counter()
        self._by_address: Counter[str] = Counter()
        self._bytes_by_caller: Counter[str] = Counter()
        self.size_bytes = 0

    @contextmanager
    def under_way(self, sender: Sender) -> Iterator[Incoming]:
        """While one body comes in. Raises RateLimitedError where this caller or address has too many already."""
        most = self._caps.per_service if sender.is_service else self._caps.per_person
        if self._by_caller[sender.limit_key] >= most or self._by_address[sender.address] >= self._caps.per_address:
            telemetry.REQUESTS_SHED.labels("bodies").inc()
            raise RateLimitedError(1.0)
        incoming = Incoming(self, sender)
        self._by_caller[sender.limit_key] += 1
        self._by_address[sender.address] += 1
        try:
            yield incoming
        finally:
            _take_off(self._by_caller, sender.limit_key, 1)
            _take_off(self._by_address, sender.address, 1)
            _take_off(self._bytes_by_caller, sender.limit_key, incoming.size_bytes)
            self.size_bytes -= incoming.size_bytes

    @property
    def count(self) -> int:
        """Bodies under way now."""
        return self._by_address.total()

    def hold(self, sender: Sender, size: int) -> None:
        """Count bytes that have come. Raises OverloadedError where they are too many."""
        self.size_bytes += size
        self._bytes_by_caller[sender.limit_key] += size
        if self.size_bytes > self._caps.total_bytes or (
            self._bytes_by_caller[sender.limit_key] > self._caps.total_bytes // 4
        ):
            raise overload_error("bodies")


@dataclass(slots=True)
class Incoming:
    """One body under way."""

    bodies: Bodies
    sender: Sender
    size_bytes: int = 0

    def grow(self, size: int) -> None:
        """Count what has come. Raises OverloadedError where too many bytes are held."""
        self.size_bytes += size
        self.bodies.hold(self.sender, size)


def _take_off(counts: Counter[str], key: str, number: int) -> None:
    counts[key] -= number
    if counts[key] <= 0:
        del counts[key]


class ConcurrencyLimiter:
    """A fixed number of places. A short wait, then refused: late answers help nobody."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._free = places
        self._reserved = int(places * RESERVED_FOR_READS)
        self._waiting: deque[asyncio.Event] = deque()
        self._max_waiting = places

    async def enter(self, is_user_read: bool) -> None:
        """Take a place; `leave` must follow. Raises OverloadedError if none gets free within MAX_QUEUE_SECONDS."""
        if not self._has_room(is_user_read):
            await self._wait(is_user_read)
        self._free -= 1

    def leave(self) -> None:
        """Give the place back."""
        self._free += 1
        if self._waiting:
            self._waiting.popleft().set()

    @property
    def taken(self) -> int:
        """Places taken now."""
        return self._places - self._free

    def _has_room(self, is_user_read: bool) -> bool:
        return self._free > (0 if is_user_read else self._reserved)

    async def _wait(self, is_user_read: bool) -> None:
        deadline = time.monotonic() + MAX_QUEUE_SECONDS
        while not self._has_room(is_user_read):
            left = deadline - time.monotonic()
            if left <= 0 or len(self._waiting) >= self._max_waiting:
                raise overload_error("queue")
            turn = asyncio.Event()
            self._waiting.insert(0 if is_user_read else len(self._waiting), turn)
            try:
                async with asyncio.timeout(left):
                    await turn.wait()
            except TimeoutError:
                continue
            finally:
                if turn in self._waiting:
                    self._waiting.remove(turn)


def overload_error(reason: str) -> OverloadedError:
    """The error for a request we refuse ourselves; jitter keeps the refused from all coming back at once."""
    telemetry.REQUESTS_SHED.labels(reason).inc()
    error = OverloadedError("too busy")
    error.retry_after_seconds = 1.0 + 2.0 * random.random()  # noqa: S311  # spreads load, protects nothing
    return error
