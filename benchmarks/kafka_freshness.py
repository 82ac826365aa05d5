"""From producing an event to Kafka to having the changed list over HTTP, while events and reads go on.

`python -m benchmarks.kafka_freshness [--probes 300] [--events 200] [--reads 50]`. Real servers, one consumer, two API
processes. Each probe watches the first item of a user's list, and asks until the item is gone: no process is told to
hurry. Beside what a client sees stands what the consumer's own histogram says. Exit 1 if the bar was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import urllib.request
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

from aiokafka import AIOKafkaProducer

from benchmarks.chaos.rig import create_topics, is_at_work
from benchmarks.machine import report
from benchmarks.open_loop import OpenLoop, failures
from benchmarks.processes import until
from tests.servers.encore import SECRET, encore
from tests.servers.process import free_ports
from tests.servers.world import Api, World, make_world

BENCHMARK = "kafka_freshness"
TOPIC, PARTITIONS = "analytics-service.video-watched", 6
BAR_MS = 250.0
PAUSE_SECONDS, PATIENCE_SECONDS = 0.005, 10.0
READERS = tuple(f"user-{number:03}" for number in range(1, 101))
PROBED = tuple(f"user-{number:03}" for number in range(101, 201))
BYSTANDERS = tuple(f"user-{number:03}" for number in range(201, 301))


@dataclass(frozen=True, slots=True)
class Running:
    """What the probes use."""

    apis: tuple[Api, Api]
    producer: AIOKafkaProducer
    metrics: str


def watched(user: str, item: object) -> bytes:
    """The event that somebody has watched an item to its end."""
    event = {"user_id": user, "video_id": item, "watched_duration": 5_400, "total_duration": 5_400}
    return json.dumps({**event, "event_id": str(uuid.uuid4()), "timestamp": datetime.now(UTC).isoformat()}).encode()


async def bustle(producer: AIOKafkaProducer, per_second: float) -> None:
    """Events of other people, until cancelled."""
    began, draw = perf_counter(), random.Random(0)
    for sent in count(1):
        user = draw.choice(BYSTANDERS)
        await producer.send(TOPIC, watched(user, f"film-{draw.randrange(1, 500):03}"), key=user.encode())
        await asyncio.sleep(max(0.0, began + sent / per_second - perf_counter()))


async def first_items(api: Api, user: str) -> list[object]:
    """The ids of the user's list now."""
    answer = await asyncio.to_thread(api.list_of, user)
    return [entry["item_id"] for entry in answer.body["recommendations"]]


async def probe(running: Running, number: int) -> float:
    """Seconds from producing to the list without the item, on either process in turn."""
    user, api = PROBED[number % len(PROBED)], running.apis[number % 2]
    item = (await first_items(api, user))[0]
    began = perf_counter()
    await running.producer.send(TOPIC, watched(user, item), key=user.encode())
    while item in await first_items(api, user):
        if perf_counter() - began > PATIENCE_SECONDS:
            raise TimeoutError(f"the list of {user} has not changed within {PATIENCE_SECONDS:.0f} s")
        await asyncio.sleep(PAUSE_SECONDS)
    return perf_counter() - began


def told_by_consumer(address: str) -> dict[str, float]:
    """The consumer's own histogram: share of events after which the list could change within so many seconds."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    begin = 'encore_freshness_seconds_bucket{le="'
    found = [line for line in lines if line.startswith(begin) and 'source="kafka"' in line]
    buckets = {line[len(begin) :].partition('"')[0]: float(line.rpartition(" ")[2]) for line in found}
    whole = buckets.get("+Inf", 0.0)
    return {f"<= {edge} s": round(share / whole, 4) for edge, share in buckets.items() if whole and 0 < share <= whole}


async def measure(running: Running, probes: int, events: float, reads: float) -> bool:
    """Print the distribution; True if the bar was met."""
    ports = [int(urlsplit(api.address).port or 0) for api in running.apis]
    load = OpenLoop(ports, READERS, SECRET, reads)
    reading, bustling = asyncio.create_task(load.run()), asyncio.create_task(bustle(running.producer, events))
    await asyncio.sleep(2.0)
    seconds = sorted([await probe(running, number) for number in range(probes)])
    bustling.cancel()
    load.stop()
    await reading
    failed, histogram = failures(load.seen), told_by_consumer(running.metrics)
    facts = {"probes": probes, "events_per_second": events, "reads_per_second": reads, "failed_reads": failed}
    p95 = 0.0
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        p95 = seconds[int(len(seconds) * 0.95)] * 1_000
        report(BENCHMARK, f"produced to changed list {name}", seconds[int(len(seconds) * share)] * 1_000, "ms", **facts)
    report(BENCHMARK, "consumer's own histogram", histogram.get("<= 0.25 s", 0.0), "ratio", histogram=histogram)
    return p95 <= BAR_MS and not failed


async def with_producer(world: World, apis: tuple[Api, Api], metrics: str, given: argparse.Namespace) -> bool:
    """All probes with one producer that sends at once."""
    brokers = urlsplit(world.settings["ENCORE_EVENTS_URL"]).netloc
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        return await measure(Running(apis, producer, metrics), given.probes, given.events, given.reads)
    finally:
        await producer.stop()


def main() -> int:
    """Exit 0 if the 95th percentile is within the bar and no read failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probes", type=int, default=300)
    parser.add_argument("--events", type=float, default=200.0)
    parser.add_argument("--reads", type=float, default=50.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        world = make_world(Path(folder))
        stack.callback(world.stop)
        asyncio.run(create_topics(urlsplit(world.settings["ENCORE_EVENTS_URL"]).netloc, {TOPIC: PARTITIONS}))
        [port] = free_ports(1)
        wanted = {**world.settings, "ENCORE_CONSUME_HEALTH_PORT": str(port), "ENCORE_LOG_LEVEL": "INFO"}
        consumer = encore("consumer", ["consume"], wanted)
        stack.callback(consumer.stop)
        consumer.start()
        unlimited = {"ENCORE_RATE_LIMIT_PER_MINUTE": "1000000"}
        apis = stack.enter_context(Api(world, **unlimited)), stack.enter_context(Api(world, **unlimited))
        for _ in until(60):
            if is_at_work(consumer):
                break
        return 0 if asyncio.run(with_producer(world, apis, f"http://127.0.0.1:{port}/metrics", given)) else 1


if __name__ == "__main__":
    sys.exit(main())
