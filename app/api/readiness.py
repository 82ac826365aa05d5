"""Whether lists can be served, and what each dependency last said (docs/design.md §10)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from app import telemetry
from app.api.dependencies import Readiness
from app.application.serving.model_server import ModelServer
from app.domain.exceptions import UnavailableError

PING_SECONDS = 1.0
KEPT_SECONDS = 1.0
"""How long an answer stands: probes are public, and must not become a way to keep dependencies busy."""

Ping = Callable[[], Awaitable[object]]


class ReadinessCheck:
    """Ready while any list can be served: from a model in memory, or from the database's own count.

    A shared dependency that is down turns no replica red, or all would leave the load balancer at once.
    """

    def __init__(self, server: ModelServer, pings: Mapping[str, Ping]) -> None:
        self._server = server
        self._pings = pings
        self._known: Mapping[str, float | None] = {}
        self._started = time.monotonic()
        self._checked_at = -KEPT_SECONDS
        self._checking = asyncio.Lock()
        self.is_draining = False

    async def __call__(self) -> Readiness:
        async with self._checking:
            if time.monotonic() - self._checked_at >= KEPT_SECONDS:
                answers = await asyncio.gather(*(self._answers(name) for name in self._pings))
                self._known = dict(zip(self._pings, answers, strict=True))
                self._checked_at = time.monotonic()
        model = self._server.current.model
        has_list = model is not None or self._known.get("database") is not None
        named = None if model is None else {"id": model.model_id, "type": model.model_type, "version": model.version}
        facts: dict[str, Any] = {
            "model": named,
            "draining": self.is_draining,
            **{name: "down" if seconds is None else "up" for name, seconds in self._known.items()},
        }
        is_degraded = model is None or None in self._known.values()
        took = {name: seconds for name, seconds in self._known.items() if seconds is not None}
        uptime = time.monotonic() - self._started
        return Readiness(has_list and not self.is_draining, is_degraded, facts, took, uptime)

    async def _answers(self, name: str) -> float | None:
        """How many seconds it took to answer; None if it did not."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._pings[name]()
        except (UnavailableError, TimeoutError):
            telemetry.DEPENDENCY_UP.labels(name).set(0)
            return None
        telemetry.DEPENDENCY_UP.labels(name).set(1)
        return time.monotonic() - began
