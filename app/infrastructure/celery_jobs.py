"""Celery as the doorbell: what a client and a worker must agree on, and the JobQueue over it.

The truth (runs, locks, tokens, slots) is in the database. A message lost, repeated, late or twice at once does no harm:
starting a training is a compare-and-swap there, and the next tick rings again for whatever still waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from celery import Celery
from kombu import pools
from kombu.exceptions import KombuError, OperationalError
from opentelemetry.trace import SpanKind
from redis.exceptions import RedisError

from app.domain.exceptions import BrokerUnavailableError
from app.domain.interfaces import JobQueue
from app.infrastructure.uninterrupted import BlockingCalls, uninterrupted
from app.spans import span, traceparent

T = TypeVar("T")

TRAINING_TASK = "encore.train"
TICK_TASK = "encore.tick"
TRAININGS_QUEUE = "encore.trainings"
TICKS_QUEUE = "encore.ticks"
QUEUES = {
    "train": TRAININGS_QUEUE,
    "evaluate": "encore.evaluations",
    "precompute": "encore.precompute",
    "tick": TICKS_QUEUE,
}
"""The kinds of jobs that a worker can be told to take, each with its queue."""
TRACE_HEADER = "traceparent"
_MESSAGING = {
    "messaging.system": "celery",
    "messaging.operation.type": "send",
}

_SOCKET_SECONDS = 2.0
_VISIBILITY_SECONDS = 600
"""When messages that a dead worker had reserved are given to others. Those of a live one that is busy for longer are
given to others as well, which is welcome: whoever comes first trains, and the second finds nothing to do."""


def make_celery(url: str) -> Celery:
    """A Celery application for the broker of a redis:// URL: JSON only, no results, no hidden retries."""
    app = Celery("encore", broker=url, set_as_current=False)
    app.conf.update(
        broker_transport="app.infrastructure.celery_transport:Transport",
        task_default_queue=TICKS_QUEUE,
        task_routes={TRAINING_TASK: {"queue": TRAININGS_QUEUE}},
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_publish_retry=False,
        # Answered when it is heard. Answering late would buy nothing: a ring that dies with its worker is repeated by
        # the next tick, long before a visibility timeout that must outlast every training.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        visibility_timeout=_VISIBILITY_SECONDS,
        broker_transport_options={
            "visibility_timeout": _VISIBILITY_SECONDS,
            "socket_timeout": _SOCKET_SECONDS,
            "socket_connect_timeout": _SOCKET_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 10,
            # Looks for messages of dead workers every 5 s; by default it is nearer to 100 s.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A training in hand goes on while the broker is away: its outcome is in the database, not in the message.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        timezone="UTC",
        enable_utc=True,
    )
    return app


def queue_of(job: str) -> str:
    """The queue of a job: `precompute@…`, a report such as `kpis@…`, or a training's id."""
    name, at, _slot = job.partition("@")
    if not at:
        return QUEUES["train"]
    return QUEUES.get(name, QUEUES["evaluate"])


async def open_celery_queue(url: str) -> JobQueue:
    """A `CeleryJobQueue`. Nothing is connected yet, so a broker that is down does not keep a process down."""
    return CeleryJobQueue(make_celery(url))


class CeleryJobQueue(JobQueue):
    """Rings by sending a Celery task. One thread, as a doorbell is rung rarely; every call ends within a deadline."""

    needs_ticks = False

    def __init__(self, app: Celery, *, timeout_seconds: float = 5.0) -> None:
        self._app = app
        self._timeout = timeout_seconds
        self._calls = BlockingCalls(1, "celery")

    async def submit(self, training_id: str) -> None:
        queue = queue_of(training_id)
        with span(f"send {queue}", SpanKind.PRODUCER, {**_MESSAGING, "messaging.destination.name": queue}):
            parent = traceparent()
            headers = {TRACE_HEADER: parent} if parent else None
            await self._run(
                lambda: self._app.send_task(
                    TRAINING_TASK, [training_id], queue=queue, headers=headers, ignore_result=True, retry=False
                )
            )

    async def depth(self) -> int:
        return await self._run(self._depth)

    async def close(self) -> None:
        await uninterrupted(self._close())

    async def _close(self) -> None:
        await self._calls.close(self._timeout)
        await asyncio.to_thread(_close, self._app)

    def _depth(self) -> int:
        with self._app.connection_for_read() as connection, connection.channel() as channel:
            return sum(int(channel.client.llen(queue)) for kind, queue in QUEUES.items() if kind != "tick")

    async def _run(self, work: Callable[[], T]) -> T:
        """Run blocking work; the one place where broker errors become ours."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._calls.run(work)
        except TimeoutError as error:
            raise BrokerUnavailableError("the job broker did not answer in time") from error
        except (OperationalError, KombuError, RedisError, OSError) as error:
            raise BrokerUnavailableError("the job broker cannot be reached") from error
        except RuntimeError as error:  # the pool is closed
            raise BrokerUnavailableError("the job queue is closed") from error


def _close(app: Celery) -> None:
    """With its connections, which kombu keeps for the whole process; the next queue makes pools of its own."""
    pools.reset()  # type: ignore[no-untyped-call]  # kombu has no types
    app.close()
