"""A circuit breaker: after several failures in a row a dependency is left alone, then tried by one call at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.telemetry import BREAKER_OPEN


class Breaker:
    """Ask `admits` before each call, tell `succeeded` or `failed` after it. For one event loop, so without locks.

    Open after `failures` failures in a row. While open, one call in every `pause_seconds` is let through as a probe;
    its success closes the breaker. A probe that never reports back (it was cancelled) costs one more pause, nothing
    else: there is no flag that it could leave set.
    """

    def __init__(
        self,
        dependency: str,
        *,
        failures: int = 5,
        pause_seconds: float = 2.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gauge = BREAKER_OPEN.labels(dependency)
        self._gauge.set(0)
        self._limit = failures
        self._pause = pause_seconds
        self._monotonic = monotonic
        self._failed = 0
        self._next_probe = 0.0

    @property
    def is_open(self) -> bool:
        """True while calls are refused."""
        return self._failed >= self._limit

    def admits(self) -> bool:
        """True if this call may be made; it must then be made."""
        if not self.is_open:
            return True
        now = self._monotonic()
        if now < self._next_probe:
            return False
        self._next_probe = now + self._pause
        return True

    def succeeded(self) -> None:
        """The dependency answered: close."""
        if self._failed:
            self._failed = 0
            self._gauge.set(0)

    def failed(self) -> None:
        """The dependency refused or did not answer in time."""
        if not self.is_open:
            self._failed += 1
        if self.is_open:
            self._gauge.set(1)
            self._next_probe = self._monotonic() + self._pause
