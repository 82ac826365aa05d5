"""The Celery worker and its tasks: thin shells around the use cases.

A training runs in a process of its own (`python -m app.tasks.training`), never in the worker: its memory goes back when
it ends, nothing is forked after OpenMP was used, and the worker goes on answering pings meanwhile, which a `solo` pool
would not. The pool is therefore one of threads that wait for processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import datetime

from celery import Celery, Task
from celery.signals import setup_logging, worker_shutting_down
from opentelemetry.trace import SpanKind

from app.config import Settings
from app.infrastructure.celery_jobs import (
    TICK_TASK,
    TICKS_QUEUE,
    TRACE_HEADER,
    TRAINING_TASK,
    make_celery,
    queue_of,
)
from app.spans import traced, traceparent, with_trace
from app.telemetry import get_logger

log = get_logger(__name__)

_KILL_SECONDS = 10.0


class Children:
    """The training processes of this worker. Ended by SIGTERM, then by SIGKILL, each by its own pid."""

    def __init__(self, module: str = "app.tasks.training") -> None:
        self._module = module
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopping = False

    def run(self, training_id: str, time_limit_seconds: float, parent: str | None = None) -> int | None:
        """Do a job and return its exit code; None if this worker is stopping. Ended after the time limit.

        `parent` is the traceparent it goes on with.
        """
        command: Sequence[str] = (sys.executable, "-m", self._module, training_id)
        with self._lock:
            if self._stopping:
                return None
            child = subprocess.Popen(  # noqa: S603  # our own interpreter and module; the id is a single argument
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env=with_trace(parent),
            )
            self._running.add(child)
        try:
            return child.wait(time_limit_seconds)
        except subprocess.TimeoutExpired:
            log.warning("training_time_limit_exceeded", training_id=training_id)
            return _end(child)
        finally:
            with self._lock:
                self._running.discard(child)

    def stop(self) -> None:
        """Start no more and end those that run; each marks its job as cancelled."""
        with self._lock:
            self._stopping = True
            running = tuple(self._running)
        for child in running:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> int:
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        return child.wait(_KILL_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def make_worker(settings: Settings) -> Celery:
    """The Celery application with its tasks. Must be called once in a process: it connects signals."""
    app = make_celery(settings.jobs_url)
    children = Children()
    slots: dict[str, datetime] = {}

    def train(task: Task, training_id: str) -> None:
        parent = (task.request.headers or {}).get(TRACE_HEADER)
        with traced(parent, f"process {queue_of(training_id)}", SpanKind.CONSUMER):
            code = children.run(training_id, settings.train_time_limit_seconds, traceparent())
        log.info("training_process_ended", training_id=training_id, exit_code=code)

    def tick() -> None:
        asyncio.run(run_tick(settings, slots))

    def stop(**_: object) -> None:
        # A training that is nearly done may end by itself; then it is told to, so that the worker can go.
        timer = threading.Timer(settings.worker_stop_seconds, children.stop)
        timer.daemon = True
        timer.start()

    def keep_our_logging(**_: object) -> None:
        """Being connected is enough: Celery then leaves the logging alone."""

    app.task(train, name=TRAINING_TASK, bind=True)
    app.task(tick, name=TICK_TASK)
    worker_shutting_down.connect(stop, weak=False)
    setup_logging.connect(keep_our_logging, weak=False)
    return app


def make_beat(settings: Settings) -> Celery:
    """The Celery application of Beat: one tick every few seconds, which is worth nothing when it is old."""
    app = make_celery(settings.jobs_url)
    app.conf.beat_schedule = {
        "tick": {
            "task": TICK_TASK,
            "schedule": settings.schedule_tick_seconds,
            "options": {"queue": TICKS_QUEUE, "expires": max(2 * settings.schedule_tick_seconds, 10.0)},
        }
    }
    return app


async def run_tick(settings: Settings, slots: dict[str, datetime]) -> None:
    """Open the container and do what is due. `slots` remembers across ticks what this process has done."""
    from app.bootstrap import make_scheduler, open_container  # loads every numerical library: not before it is needed

    async with open_container(settings) as container:
        await make_scheduler(container, slots).tick()
