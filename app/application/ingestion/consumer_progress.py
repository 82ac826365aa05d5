"""Whether the consumer gets anywhere: positions advance, or there is nothing to do, or it knows what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable


class ConsumerProgress:
    """Liveness by progress, not by "the loop answers" (aiokafka has been silently stuck: #847, #1037).

    Read from other threads; every field is written by the loop alone.
    """

    def __init__(self, stuck_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._stuck_seconds = stuck_seconds
        self._now = now
        self._moved_at = self._turned_at = now()
        self.waits_for_what: str | None = None

    def note(self, *, has_moved: bool, is_behind: bool) -> None:
        """One turn of the loop. Behind and not moving, without a known cause, is what counts against us."""
        self._turned_at = self._now()
        if has_moved or not is_behind:
            self._moved_at = self._turned_at
        self.waits_for_what = None

    def waits_for(self, what: str) -> None:
        """A dependency is away: restarting us would not bring it back."""
        self._moved_at = self._turned_at = self._now()
        self.waits_for_what = what

    def idle_seconds(self) -> float:
        """How long there was work and nothing was done; also when the loop itself stands still."""
        return self._now() - min(self._moved_at, self._turned_at)

    def is_stuck(self) -> bool:
        """Whether only a restart can help."""
        return self.idle_seconds() > self._stuck_seconds
