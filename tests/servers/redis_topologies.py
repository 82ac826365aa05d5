"""Valkey as a cluster of three nodes, and as a primary with two replicas under three sentinels."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis as redis_client

from tests.servers.process import ServerFailedError, ServerProcess, free_ports, make_folder
from tests.servers.redis import answers, redis_binary
from tests.servers.server import Server, own

SERVICE = "encore"
NODES = 3
_SLOTS = 16_384
_WAIT_SECONDS = 30.0
_DOWN_MS = 500
"""Sentinel takes a server for lost after this silence; half a second of it is for a busy machine."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Several servers behind one address of the cache."""

    url: str
    servers: Sequence[Server]
    sentinels: Sequence[Server] = ()

    def empty(self) -> None:
        """Remove every key."""
        for server in self.servers:
            with _connected(server) as connection, contextlib.suppress(redis_client.ReadOnlyError):
                connection.flushall()

    def counts(self) -> list[int]:
        """How many keys each server holds."""
        return [_count(server) for server in self.servers]

    def primaries(self) -> list[Server]:
        """The servers that take writes, by their own account: two while one has not heard of its successor."""
        return [server for server in self.servers if _role(server) == "master"]

    def stop(self) -> None:
        """Stop all."""
        for server in (*self.sentinels, *self.servers):
            server.stop()


def start_cluster() -> Topology:
    """Three nodes, each with a third of the slots. Raises ServerMissingError."""
    servers = [_node("--cluster-enabled", "yes", "--cluster-node-timeout", "2000") for _ in range(NODES)]
    topology = Topology(f"redis+cluster://{','.join(map(_place, servers))}", servers)
    try:
        for number, server in enumerate(servers):
            with _connected(server) as connection:
                first, last = number * _SLOTS // NODES, (number + 1) * _SLOTS // NODES - 1
                connection.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
                host, port = _place(servers[0]).split(":")
                connection.execute_command("CLUSTER MEET", host, port)
        _wait(lambda: all(map(_is_whole, servers)), "the cluster")
    except BaseException:
        topology.stop()
        raise
    return topology


def start_sentinel() -> Topology:
    """A primary, two replicas, three sentinels, two of which decide. Raises ServerMissingError."""
    primary = _node()
    host, port = _place(primary).split(":")
    servers = [primary, *(_node("--replicaof", f"{host} {port}") for _ in range(2))]
    _wait(lambda: _replicas(primary) == 2, "the replicas")
    sentinels = [_sentinel(host, port) for _ in range(3)]
    topology = Topology(f"redis+sentinel://{','.join(map(_place, sentinels))}/{SERVICE}", servers, sentinels)
    try:
        _wait(lambda: all(map(_knows_all, sentinels)), "the sentinels")
    except BaseException:
        topology.stop()
        raise
    return topology


def _node(*options: str) -> Server:
    binary, folder, [port] = redis_binary(), make_folder("redis"), free_ports(1)
    fixed = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    # replicas are served at once, and a partial copy is not waited for
    quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
    process = ServerProcess("redis", [binary, *fixed, *quick, *options], folder, lambda: answers("127.0.0.1", port))
    return own(process, f"redis://127.0.0.1:{port}/0")


def _sentinel(host: str, port: str) -> Server:
    binary, folder, [own_port] = redis_binary(), make_folder("sentinel"), free_ports(1)
    settings = [
        f"port {own_port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"sentinel monitor {SERVICE} {host} {port} 2",
        f"sentinel down-after-milliseconds {SERVICE} {_DOWN_MS}",
        f"sentinel failover-timeout {SERVICE} 5000",
    ]
    file = folder / "sentinel.conf"
    file.write_text("\n".join(settings) + "\n")
    process = ServerProcess(
        "sentinel", [binary, str(file), "--sentinel"], folder, lambda: answers("127.0.0.1", own_port)
    )
    return own(process, f"redis://127.0.0.1:{own_port}")


def _place(server: Server) -> str:
    return server.url.removeprefix("redis://").partition("/")[0]


def _connected(server: Server) -> redis_client.Redis:
    return redis_client.Redis.from_url(f"redis://{_place(server)}", socket_timeout=2, protocol=2)


def _count(server: Server) -> int:
    with _connected(server) as connection:
        return int(connection.dbsize())


def _role(server: Server) -> str:
    with contextlib.suppress(redis_client.RedisError), _connected(server) as connection:
        return str(connection.info("replication")["role"])
    return "gone"


def _replicas(server: Server) -> int:
    with _connected(server) as connection:
        facts = connection.info("replication")
    return sum(facts.get(f"slave{number}", {}).get("state") == "online" for number in range(2))


def _is_whole(server: Server) -> bool:
    with _connected(server) as connection:
        facts = connection.execute_command("CLUSTER INFO")
        known = connection.execute_command("CLUSTER NODES")
    return facts["cluster_state"] == "ok" and len(known) == NODES


def _knows_all(sentinel: Server) -> bool:
    with _connected(sentinel) as connection:
        state = connection.sentinel_master(SERVICE)
    return int(state["num-slaves"]) == 2 and int(state["num-other-sentinels"]) == 2


def _wait(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise ServerFailedError(f"{what} did not come up")
        time.sleep(0.05)
