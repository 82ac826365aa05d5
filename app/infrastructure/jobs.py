"""Job queues: `open_job_queue(url)`. A queue is only a doorbell; the truth about trainings is in the database."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque

from app.domain.exceptions import BrokerUnavailableError, ConfigurationError
from app.domain.interfaces import JobQueue
from app.infrastructure.uninterrupted import uninterrupted
from app.spans import traceparent, with_trace
from app.telemetry import get_logger

log = get_logger(__name__)

DEFAULT_TIME_LIMIT_SECONDS = 21_600.0
_MAX_WAITING = 100
"""There is at most one queued training per model type, so this many rings means that something is wrong."""


async def open_job_queue(url: str, time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS) -> JobQueue:
    """Open the queue of a URL: `local://` (a process of our own per training) or `redis://…` (Celery's broker).

    A process of our own is ended after `time_limit_seconds`; Celery's worker does so by its own settings.
    """
    match url.partition("://"):
        case "local", "://", "":
            return LocalJobQueue(time_limit_seconds=time_limit_seconds)
        case "redis" | "rediss", "://", _:
            from app.infrastructure.celery_jobs import open_celery_queue

            return await open_celery_queue(url)
        case _:
            raise ConfigurationError("ENCORE_JOBS_URL", "must be local:// or a redis:// address")


class LocalJobQueue(JobQueue):
    """Runs `python -m app.tasks.training ID`, one process at a time, each reaped; the one running ends with us.

    A spawned process, not a forked one: a fork of a process that has used OpenMP hangs. It is killed only when it has
    ignored SIGTERM for `grace_seconds`; when we are killed ourselves, it finishes its training alone. One that takes
    longer than `time_limit_seconds` is ended in the same way.
    """

    needs_ticks = True

    def __init__(
        self,
        module: str = "app.tasks.training",
        *,
        grace_seconds: float = 10.0,
        time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS,
    ) -> None:
        self._module = module
        self._time_limit = time_limit_seconds
        self._grace = grace_seconds
        self._waiting: deque[str] = deque()
        self._parents: dict[str, str] = {}
        self._running: str | None = None
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, training_id: str) -> None:
        if self._closed or len(self._waiting) >= _MAX_WAITING:
            raise BrokerUnavailableError("no further trainings are taken here")
        if training_id == self._running or training_id in self._waiting:
            return
        self._waiting.append(training_id)
        if parent := traceparent():
            self._parents[training_id] = parent
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run(), name="local-jobs")

    async def depth(self) -> int:
        return len(self._waiting)

    async def close(self) -> None:
        self._closed = True
        self._waiting.clear()
        self._parents.clear()
        if self._runner is not None:
            self._runner.cancel()
            await uninterrupted(asyncio.wait({self._runner}))  # it ends the training in order

    async def _run(self) -> None:
        while self._waiting:
            self._running = self._waiting.popleft()
            try:
                await self._spawn(self._running)
            except OSError:
                # Safe to go on: the job stays queued in the database, and the next start rings for it again.
                log.exception("training_process_not_started", training_id=self._running)
            finally:
                self._running = None

    async def _spawn(self, training_id: str) -> None:
        # A session of its own: Ctrl-C in the terminal reaches us, and we end the training in order.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            training_id,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            env=with_trace(self._parents.pop(training_id, None)),
        )
        try:
            async with asyncio.timeout(self._time_limit):
                code = await process.wait()
        except TimeoutError:
            log.warning("training_time_limit_exceeded", training_id=training_id)
            await self._terminate(process)
            return
        except asyncio.CancelledError:
            await self._terminate(process)
            raise
        (log.info if code == 0 else log.warning)("training_process_ended", training_id=training_id, exit_code=code)

    async def _terminate(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._grace):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
