"""The Kafka ingestion process: `encore consume`, or `python -m app.consumer`. Wiring, signals, probes; nothing else."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from app import telemetry
from app.application.ingestion.batch_planning import PoisonPolicy
from app.application.ingestion.event_types import TOPICS
from app.application.ingestion.record_decoding import decode_records
from app.application.ingestion.stream_consumer import ConsumePolicy, StreamConsumer
from app.application.outgoing.outbox_relay import OutboxRelay
from app.config import Settings, load_settings
from app.connecting import connect_cache, connect_database, connect_publisher, connect_source, utc_now
from app.infrastructure.health_port import HealthPort
from app.log_format import configure_logging
from app.tracing import connect_tracing

log = telemetry.get_logger(__name__)

GC_THRESHOLDS = (100_000, 50, 1_000)
"""A batch is tens of thousands of new objects without a cycle among them: searching those again and again was a quarter
of the decoding time (`python -m benchmarks.consume_rate`)."""


async def consume(settings: Settings) -> None:
    """Until SIGTERM or SIGINT: stop fetching → finish the batch → leave the hint → leave the group."""
    async with AsyncExitStack() as stack:
        tracing = connect_tracing(settings, "consumer")
        if tracing is not None:
            stack.push_async_callback(tracing.close)
        database = await connect_database(settings)
        stack.push_async_callback(database.close)
        cache = await connect_cache(settings)
        stack.push_async_callback(cache.close)
        publisher = await connect_publisher(settings)
        stack.push_async_callback(publisher.close)
        source = await connect_source(settings, TOPICS)
        decode = partial(decode_records, max_age=timedelta(days=settings.event_max_age_days))
        consumer = StreamConsumer(source, database, cache, decode, utc_now, _policy(settings))
        relay = OutboxRelay(database.outbox, database.dead_letters, publisher, utc_now)
        port = stack.enter_context(_health_port(settings, consumer))
        stopping = _on_signals(consumer)
        _tune_collector()
        log.info("consumer_starts", group=settings.consume_group, health_port=port.port)
        await _run_both(consumer, relay, stopping)
    log.info("consumer_stopped")


async def _run_both(consumer: StreamConsumer, relay: OutboxRelay, stopping: asyncio.Event) -> None:
    """If one of the two ends by a bug, the other ends with it, and the supervisor starts us anew."""
    async with asyncio.TaskGroup() as tasks:
        relaying = tasks.create_task(relay.run(stopping))
        await consumer.run()
        stopping.set()
        await asyncio.wait({relaying}, timeout=10)
        relaying.cancel()


def _tune_collector() -> None:
    """What is loaded by now lives as long as the process: never look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _on_signals(consumer: StreamConsumer) -> asyncio.Event:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop() -> None:
        consumer.stop()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopping


def _policy(settings: Settings) -> ConsumePolicy:
    return ConsumePolicy(
        max_records=settings.consume_batch_records,
        stuck_seconds=settings.consume_stuck_seconds,
        poison=PoisonPolicy(
            max_consecutive=settings.consume_poison_consecutive,
            max_ratio=settings.consume_poison_ratio,
            pause_seconds=settings.consume_poison_pause_seconds,
        ),
    )


def _health_port(settings: Settings, consumer: StreamConsumer) -> HealthPort:
    checks = {"/health/live": partial(_live, consumer), "/health/ready": partial(_ready, consumer)}
    return HealthPort(settings.consume_health_host, settings.consume_health_port, checks, telemetry.REGISTRY)


def _live(consumer: StreamConsumer) -> tuple[bool, Mapping[str, object]]:
    """Progress, not dependencies: restarting us would not bring those back."""
    progress = consumer.progress
    return not progress.is_stuck(), {"idle_seconds": round(progress.idle_seconds(), 1)}


def _ready(consumer: StreamConsumer) -> tuple[bool, Mapping[str, object]]:
    parked = [f"{place.topic}/{place.partition}" for place in list(consumer.share.parked)]
    waits_for = consumer.progress.waits_for_what
    return not parked and waits_for is None, {"parked": parked, "waits_for": waits_for}


def main() -> None:
    """Load the settings and consume."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    asyncio.run(consume(settings))


if __name__ == "__main__":
    main()
