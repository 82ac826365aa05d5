"""An exact sliding window: never more than `limit` allowed requests within any 60 seconds, per key."""

from __future__ import annotations

from collections import OrderedDict, deque

from app.domain.interfaces import RateLimitStatus

WINDOW_SECONDS = 60.0
_KEY_BYTES = 900
"""An empty deque holds one block of 64 pointers; with key and slot about this much on CPython 3.11."""
_HIT_BYTES = 32
"""A float and its pointer."""


class SlidingWindows:
    """The times of allowed requests by key. Refused requests are not counted, so waiting always helps.

    Bounded by bytes: keys silent for a window go first, then those not used longest (they may then be allowed more).
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._hits: OrderedDict[str, deque[float]] = OrderedDict()
        self.size_bytes = 0

    def hit(self, key: str, limit: int, now: float) -> RateLimitStatus:
        """Count one request at `now` (monotonic seconds) and say whether it is allowed."""
        times = self._times(key)
        self._expire(times, now)
        allowed = len(times) < limit
        if allowed:
            times.append(now)
            self.size_bytes += _HIT_BYTES
            self._bound(now)
        reset = times[0] + WINDOW_SECONDS - now if times else WINDOW_SECONDS
        return RateLimitStatus(limit, max(limit - len(times), 0), reset, allowed)

    def _times(self, key: str) -> deque[float]:
        times = self._hits.get(key)
        if times is None:
            times = self._hits[key] = deque()
            self.size_bytes += _KEY_BYTES
        self._hits.move_to_end(key)
        return times

    def _expire(self, times: deque[float], now: float) -> None:
        while times and times[0] <= now - WINDOW_SECONDS:
            times.popleft()
            self.size_bytes -= _HIT_BYTES

    def _bound(self, now: float) -> None:
        # The oldest key is either silent (forgetting it changes nothing) or must go because memory is full.
        while len(self._hits) > 1 and (self.size_bytes > self._max_bytes or self._oldest_is_silent(now)):
            _key, times = self._hits.popitem(last=False)
            self.size_bytes -= _KEY_BYTES + _HIT_BYTES * len(times)

    def _oldest_is_silent(self, now: float) -> bool:
        times = next(iter(self._hits.values()))
        return not times or times[-1] <= now - WINDOW_SECONDS
