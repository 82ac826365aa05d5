"""Probes and figures of a Celery worker: alive while its own clock ticks, ready while it hears its broker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from celery import Celery, bootsteps
from celery.signals import worker_ready

from app import telemetry
from app.infrastructure.health_port import HealthPort

BEAT_SECONDS = 2.0
STUCK_SECONDS = 60.0


class Pulse:
    """When the worker's event loop last ran. Written by that loop, read by the probe's threads: one float, no lock."""

    def __init__(self) -> None:
        self._beaten = time.monotonic()
        self._is_ready = False

    def watch(self, app: Celery) -> None:
        """Beat on the worker's own timer, and note when it has begun to listen."""
        pulse = self

        class Beating(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
            requires = {"celery.worker.components:Timer"}  # noqa: RUF012 - so the base class names it

            def start(self, worker: Any) -> None:
                self.timer = worker.timer.call_repeatedly(BEAT_SECONDS, pulse.beat)

            def stop(self, _worker: Any) -> None:
                self.timer.cancel()

        app.steps["worker"].add(Beating)
        worker_ready.connect(self._begun, weak=False)

    def beat(self) -> None:
        """The loop runs."""
        self._beaten = time.monotonic()

    def live(self) -> tuple[bool, Mapping[str, object]]:
        """Whether the loop has run within the last minute; a job in hand does not stop it."""
        idle = time.monotonic() - self._beaten
        return idle < STUCK_SECONDS, {"idle_seconds": round(idle, 1)}

    def ready(self) -> tuple[bool, Mapping[str, object]]:
        """Whether it has connected to its broker and takes jobs."""
        return self._is_ready, {}

    def _begun(self, **_: object) -> None:
        self._is_ready = True


def worker_port(host: str, port: int | None, pulse: Pulse) -> AbstractContextManager[object]:
    """`/health/live`, `/health/ready` and `/metrics` on this port; nothing without one."""
    if port is None:
        return nullcontext()
    return HealthPort(host, port, {"/health/live": pulse.live, "/health/ready": pulse.ready}, telemetry.REGISTRY)
