"""The topology of docker-compose.yml without Docker: `python -m tests.servers.stack` (`make stack`).

Reads the compose file itself: the same commands and settings, with the addresses of local servers in place of service
names. What the file gets wrong fails here too.
"""

from __future__ import annotations

import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.servers.encore import SECRET, encore, status
from tests.servers.fleet import Fleet, obtain
from tests.servers.postgres import execute
from tests.servers.process import ServerFailedError, ServerMissingError, ServerProcess, free_ports
from tests.servers.s3 import client
from tests.servers.server import Server, run_sync

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"
VARIABLES = {"POSTGRES_PASSWORD": "local", "S3_SECRET_KEY": "local", "ENCORE_JWT_SECRET": SECRET}
_VARIABLE = re.compile(r"\$\{(\w+)(?::?[?-][^}]*)?\}")


def compose() -> Mapping[str, Any]:
    """The services of docker-compose.yml by name."""
    services: Mapping[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


def is_ours(service: Mapping[str, Any]) -> bool:
    """True for a service that runs Encore's image."""
    return str(service["image"]).startswith("encore:")


class Stack:
    """All servers and all processes. `addresses` are the API processes by service name.

    `settings` are for every process, on top of what the compose file says.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._extra = dict(settings or {})
        self.fleet = Fleet()
        self.jobs: Server | None = None
        self.processes: dict[str, ServerProcess] = {}
        self.addresses: dict[str, str] = {}
        self.environment: dict[str, str] = {}

    def start(self, say: Callable[[str], None] = lambda _line: None) -> None:
        """Servers, then what runs once, then what runs for ever; returns when every API process is ready."""
        self.fleet.begin(["postgres", "redis", "kafka", "s3"])
        self.jobs = obtain("redis")
        services = compose()
        self._prepare(services)
        say("# servers up")
        ours = {name: service for name, service in services.items() if is_ours(service)}
        for name, service in sorted(ours.items(), key=lambda each: each[1].get("restart") != "no"):
            self._start(name, service)
            say(f"# {name} started")
        self.environment = self._environment(services["api-1"])

    def stop(self) -> Mapping[str, int]:
        """Stop the processes, then the servers; the exit codes of the processes by name."""
        for process in self.processes.values():
            process.stop()
        codes = {name: process.exit_code for name, process in self.processes.items()}
        for process in self.processes.values():
            shutil.rmtree(process.folder, ignore_errors=True)
        if self.jobs is not None:
            self.jobs.stop()
        self.fleet.stop()
        return codes

    def _prepare(self, services: Mapping[str, Any]) -> None:
        """What the images do when they start for the first time: role, database, bucket, topics."""
        execute(
            self.fleet.get("postgres").url,
            "CREATE ROLE encore LOGIN PASSWORD 'local'",
            "CREATE DATABASE encore OWNER encore",
        )
        s3 = self.fleet.get("s3")
        store = client(s3.url, s3.environment)
        store.create_bucket(Bucket="encore")
        store.close()
        topics = re.findall(r"[a-z]+-service\.[a-z-]+", " ".join(services["topics"]["command"]))
        run_sync(_create_topics(self.fleet.get("kafka").url, topics))

    def _start(self, name: str, service: Mapping[str, Any]) -> None:
        settings = self._environment(service)
        health = service.get("healthcheck", {}).get("test", [""])[-1]
        ready: Callable[[], bool] = lambda: True  # noqa: E731 - replaced below where there is a probe
        if found := re.search(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", health):
            [port] = free_ports(1)
            address = f"http://127.0.0.1:{port}"
            others = "ENCORE_WORKER_HEALTH_PORT" if name == "worker" else "ENCORE_CONSUME_HEALTH_PORT"
            setting = "ENCORE_PORT" if found[1] == "8080" else others
            settings |= {setting: str(port)}
            path = found[2]
            ready = lambda: status(address + path) == 200  # noqa: E731 - one expression
            if setting == "ENCORE_PORT":
                self.addresses[name] = address
        process = encore(name, service["command"], settings, is_ready=ready)
        self.processes[name] = process
        process.start()
        if service.get("restart") == "no":
            process.wait(120)

    def _environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        s3 = self.fleet.get("s3")
        settings = {name: self._local(str(value)) for name, value in service["environment"].items()}
        local = {"ENCORE_HOST": "127.0.0.1"}
        if "ENCORE_ADMIN_PORT" in settings:  # two API processes share this machine; any free port will do
            local |= {"ENCORE_ADMIN_HOST": "127.0.0.1", "ENCORE_ADMIN_PORT": "0"}
        return settings | local | dict(s3.environment) | self._extra

    def _local(self, value: str) -> str:
        """A value of the compose file with variables filled in and service names replaced by local addresses."""
        assert self.jobs is not None
        value = _VARIABLE.sub(lambda match: VARIABLES[match[1]], value)
        s3 = urlsplit(parse_qs(urlsplit(self.fleet.get("s3").url).query)["endpoint"][0]).netloc
        places = {
            "postgres:5432": _address(self.fleet.get("postgres")),
            "redis-jobs:6379": _address(self.jobs),
            "redis:6379": _address(self.fleet.get("redis")),
            "kafka:9092": _address(self.fleet.get("kafka")),
            "s3:8333": s3,
        }
        for service, place in places.items():
            value = re.sub(rf"(?<=[/@]){re.escape(service)}\b", place, value)
        return value


def _address(server: Server) -> str:
    return urlsplit(server.url).netloc.rpartition("@")[2]


async def _create_topics(url: str, topics: list[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=urlsplit(url).netloc)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=6, replication_factor=1) for topic in topics])
    finally:
        await admin.close()


def main() -> int:
    """Exit 0 after Ctrl-C if every process ended cleanly."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    stack = Stack()
    codes: Mapping[str, int] = {}
    try:
        stack.start(partial(print_to, sys.stderr))
        for name, value in {**stack.environment, "ENCORE_JWT_SECRET": SECRET}.items():
            print_to(sys.stdout, f"export {name}='{value}'")
        for name, address in stack.addresses.items():
            print_to(sys.stdout, f"# {name}: {address}")
        print_to(
            sys.stderr, "# all up; with these settings `encore token --sub u1` makes a token; Ctrl-C stops everything"
        )
        ended.wait()
    except (ServerMissingError, ServerFailedError) as exc:
        print_to(sys.stderr, str(exc))
        return 1
    finally:
        codes = stack.stop()
    for name, code in codes.items():
        print_to(sys.stderr, f"# {name} ended with {code}")
    return 1 if any(codes.values()) else 0


def print_to(stream: Any, line: str) -> None:
    """One line, at once."""
    stream.write(line + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
