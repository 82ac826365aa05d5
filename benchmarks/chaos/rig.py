"""The servers and the consumers under test: real ones, started by their command line, broken by the nemesis."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.infrastructure.database.migrate import migrate
from tests.servers.kafka import start_kafka
from tests.servers.postgres import execute, on_database, start_postgres
from tests.servers.process import ServerProcess, free_ports, make_folder
from tests.servers.server import Server

ROOT = Path(__file__).resolve().parents[2]
SESSION_SECONDS = 6.0


@dataclass(slots=True)
class Rig:
    """What runs, and `code`: the copy of the source tree that the consumers run."""

    postgres: Server
    kafka: Server
    database_url: str
    code: Path
    settings: Mapping[str, str]
    consumers: list[ServerProcess] = field(default_factory=list)

    @property
    def brokers(self) -> str:
        return urlsplit(self.kafka.url).netloc

    async def database_outage(self, seconds: float, victim: ServerProcess | None) -> None:
        """`pg_ctl stop -m immediate`, and a consumer killed while the database is down; then crash recovery."""
        control = self.postgres.control
        os.kill(control.pid, signal.SIGQUIT)
        await asyncio.to_thread(lambda: control.exit_code)
        await asyncio.sleep(seconds / 2)
        if victim is not None:
            await asyncio.to_thread(victim.kill)
        await asyncio.sleep(seconds / 2)
        await asyncio.to_thread(control.start)
        if victim is not None:
            await asyncio.to_thread(victim.start)

    def add_consumer(self) -> ServerProcess:
        """One more member of the group."""
        consumer = consumer_process(self, len(self.consumers))
        self.consumers.append(consumer)
        consumer.start()
        return consumer

    def stop_consumers(self) -> None:
        """All of them, and their folders."""
        for consumer in self.consumers:
            consumer.stop()
            shutil.rmtree(consumer.folder, ignore_errors=True)

    def revive(self) -> int:
        """Start consumers that ended by themselves; returns how many had."""
        dead = [consumer for consumer in self.consumers if has_ended(consumer)]
        for consumer in dead:
            consumer.start()
        return len(dead)


def has_ended(process: ServerProcess) -> bool:
    """Whether it is gone without having been told to go."""
    return process._process is not None and process._process.poll() is not None


def is_at_work(process: ServerProcess) -> bool:
    """Whether it has come so far since its start that it reads: it has said where it begins."""
    if has_ended(process) or not process.log.exists():
        return False
    said = process.log.read_bytes()
    return said.rfind(b'"partition_positioned"') > said.rfind(b'"consumer_starts"')


@contextmanager
def started_rig(topics: Mapping[str, int], consumers: int, tree: Path = ROOT, **settings: str) -> Iterator[Rig]:
    """PostgreSQL with fsync on, a real broker with empty topics, and consumers that have been started."""
    kafka = start_kafka()
    try:
        asyncio.run(create_topics(urlsplit(kafka.url).netloc, topics))
        with rig_on(kafka, consumers, tree, **settings) as rig:
            yield rig
    finally:
        kafka.stop()


@contextmanager
def rig_on(kafka: Server, consumers: int, tree: Path = ROOT, **settings: str) -> Iterator[Rig]:
    """The same on brokers that somebody else has started and will stop."""
    with ExitStack() as stack:
        postgres = start_postgres(durable=True)
        stack.callback(postgres.stop)
        execute(postgres.url, "CREATE DATABASE chaos")
        url = on_database(postgres.url, "chaos")
        migrate(url)
        rig = Rig(postgres, kafka, url, stack.enter_context(snapshot(tree)), settings)
        stack.callback(rig.stop_consumers)
        for _ in range(consumers):
            rig.add_consumer()
        yield rig


@contextmanager
def snapshot(tree: Path) -> Iterator[Path]:
    """A copy of the code, so that nobody's edit changes it while a consumer is down."""
    with tempfile.TemporaryDirectory(prefix="encore-tree-") as folder:
        shutil.copytree(tree / "app", Path(folder) / "app", ignore=shutil.ignore_patterns("__pycache__"))
        yield Path(folder)


def consumer_process(rig: Rig, number: int) -> ServerProcess:
    """`encore consume` with a static place in the group, so that one that is killed comes back to its partitions."""
    [port] = free_ports(1)
    environment = {
        "PYTHONPATH": str(rig.code),
        "ENCORE_ENVIRONMENT": "test",
        "ENCORE_DATABASE_URL": rig.database_url,
        "ENCORE_DATABASE_POOL_SIZE": "3",
        "ENCORE_EVENTS_URL": rig.kafka.url,
        "ENCORE_CONSUME_INSTANCE": f"chaos-{number}",
        "ENCORE_CONSUME_SESSION_SECONDS": str(SESSION_SECONDS),
        "ENCORE_CONSUME_HEARTBEAT_SECONDS": "0.5",
        "ENCORE_CONSUME_HEALTH_PORT": str(port),
        **rig.settings,
    }
    return ServerProcess(
        name=f"consumer-{number}",
        command=[sys.executable, "-m", "app.cli", "consume"],
        folder=make_folder(f"consumer-{number}"),
        is_ready=lambda: True,
        environment=environment,
    )


async def create_topics(brokers: str, topics: Mapping[str, int]) -> None:
    """One replica each; on one broker more would prove nothing."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1) for topic, partitions in topics.items()])
    await admin.close()
