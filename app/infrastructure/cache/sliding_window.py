"""A sliding window of 60 s per key, counted by granules of one second: memory by key and second, not by hit.

How exact it is: the hits of one granule count as if all had come with the latest of them. So never more than `limit`
are allowed within any 60 s; a hit is forgotten no earlier than 60 s after it came and less than one second later; and
where hits lie in different granules the window is exact. `app/infrastructure/cache/redis_scripts.py` counts alike.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable

from app.domain.interfaces import RateLimitStatus

WINDOW_SECONDS = 60.0
GRANULE_SECONDS = 1.0
MAX_GRANULES = 62
"""Granules that a window of 60 s can touch, and one to spare."""

KEY_BYTES = 420
"""Key, slot of the table, record and an empty array: measured by tracemalloc on CPython 3.11."""

GRANULE_BYTES = 18
"""Two doubles and what an array keeps in reserve (an eighth)."""


class _Window:
    """Of one key: hits within the window, and (time of the latest, number) of each granule, oldest first."""

    __slots__ = ("granules", "used")

    def __init__(self) -> None:
        self.used = 0
        self.granules = array("d")


class SlidingWindows:
    """The allowed hits by key. Refused ones are not counted, so waiting always helps.

    Bounded by bytes: keys silent for a window go first, then those not used longest (they may then be allowed more). A
    key that is being hammered is used all the time and never goes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self.size_bytes = 0

    def hit(self, key: str, limit: int, now: float, cost: int = 1) -> RateLimitStatus:
        """Count `cost` hits at `now` (monotonic seconds), all or none, and say whether they are allowed.

        `reset_seconds` of what is allowed: until the oldest hits are forgotten; of what is refused: until it would fit.
        """
        window = self._window(key)
        self._expire(window, now)
        allowed = window.used + cost <= limit
        if allowed:
            self._add(window, now, cost)
            self._bound(now)
        excess = 0 if allowed else window.used + cost - limit
        return RateLimitStatus(limit, max(limit - window.used, 0), _seconds_until_freed(window, excess, now), allowed)

    def erase(self, which: Callable[[str], bool]) -> int:
        """Forget the hits of these keys; how many keys there were."""
        keys = [key for key in self._windows if which(key)]
        for key in keys:
            self.size_bytes -= KEY_BYTES + GRANULE_BYTES * len(self._windows.pop(key).granules) // 2
        return len(keys)

    def _window(self, key: str) -> _Window:
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window()
            self.size_bytes += KEY_BYTES
        self._windows.move_to_end(key)
        return window

    def _add(self, window: _Window, now: float, cost: int) -> None:
        granules = window.granules
        if granules and granules[-2] // GRANULE_SECONDS == now // GRANULE_SECONDS:
            granules[-2] = now
            granules[-1] += cost
        else:
            granules.extend((now, cost))
            self.size_bytes += GRANULE_BYTES
        window.used += cost

    def _expire(self, window: _Window, now: float) -> None:
        granules, gone = window.granules, 0
        while gone < len(granules) and granules[gone] <= now - WINDOW_SECONDS:
            window.used -= int(granules[gone + 1])
            gone += 2
        if gone:
            del granules[:gone]
            self.size_bytes -= GRANULE_BYTES * gone // 2

    def _bound(self, now: float) -> None:
        # The oldest key is either silent (forgetting it changes nothing) or must go because memory is full.
        while len(self._windows) > 1 and (self.size_bytes > self._max_bytes or self._oldest_is_silent(now)):
            _key, window = self._windows.popitem(last=False)
            self.size_bytes -= KEY_BYTES + GRANULE_BYTES * len(window.granules) // 2

    def _oldest_is_silent(self, now: float) -> bool:
        granules = next(iter(self._windows.values())).granules
        return not granules or granules[-2] <= now - WINDOW_SECONDS


def _seconds_until_freed(window: _Window, excess: int, now: float) -> float:
    """Until `excess` hits are forgotten, at least the oldest; a whole window where even all would not do."""
    granules, freed = window.granules, 0
    for place in range(0, len(granules), 2):
        freed += int(granules[place + 1])
        if freed >= excess:
            return granules[place] + WINDOW_SECONDS - now
    return WINDOW_SECONDS
