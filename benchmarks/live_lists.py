"""Live lists under load: many readers of one process, events of their users, how long until each change is seen.

`python -m benchmarks.live_lists [--connections 1000] [--events-per-second 100] [--seconds 20] [--slow 50]`. Prints the
p95 from sending an event to the list that it made (goal: 300 ms), memory per connection, readers whose last list is
not what the list route says in the end (goal: 0), and what readers that do not read cost. Exit 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import report, resident_bytes
from benchmarks.processes import Home, Server, demo_home

BENCHMARK = "live_lists"
GOAL_MS = 300.0
START_SECONDS, SETTLE_SECONDS = 120.0, 20.0


@dataclass(slots=True)
class Reader:
    """One open stream: the lists it was sent, and when the event was sent that it waits for."""

    user_id: str
    shown: list[str] = field(default_factory=list)
    lists: int = 0
    refusals: int = 0
    sent_at: float | None = None
    sent_item: str = ""
    seen: list[float] = field(default_factory=list)

    async def run(self, port: int, token: str) -> None:
        """Read until cancelled; come back where there is no place at the moment."""
        while not await self._read(port, token):
            self.refusals += 1
            await asyncio.sleep(random.uniform(0.5, 1.5))

    async def _read(self, port: int, token: str) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_048_576)
        try:
            writer.write(request("GET", f"/api/v1/recs/{self.user_id}/stream", token))
            if b" 200 " not in await reader.readline():
                return False
            while line := await reader.readline():
                if line.startswith(b'data: {"user_id"'):
                    self.take(json.loads(line[6:]))
            return True
        finally:
            writer.close()

    def take(self, found: dict[str, list[dict[str, str]]]) -> None:
        """A list has come: is it the one that the last event made?"""
        self.shown = [line["item_id"] for line in found["recommendations"]]
        self.lists += 1
        if self.sent_at is not None and self.sent_item not in self.shown:
            self.seen.append(time.perf_counter() - self.sent_at)
            self.sent_at = None


def request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it does within the time."""
    until = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < until:  # noqa: ASYNC110 - readers have no event to wait for
        await asyncio.sleep(0.05)
    return found


async def send_events(server: Server, key: str, readers: list[Reader], rate: float, seconds: float) -> int:
    """Events at this rate, each about the first item that a reader is shown, over one connection; how many."""
    stream, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1_048_576)
    loop, chance, sent = asyncio.get_running_loop(), random.Random(1), 0
    began = loop.time()
    while (due := began + sent / rate) < began + seconds:
        await asyncio.sleep(max(0.0, due - loop.time()))
        reader = chance.choice(readers)
        if reader.shown and reader.sent_at is None:
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
            event = {"user_id": reader.user_id, "item_id": reader.shown[0], "kind": "view", "timestamp": at}
            body = json.dumps({"type": "ItemInteracted", **event}).encode()
            reader.sent_item, reader.sent_at = reader.shown[0], time.perf_counter()
            writer.write(request("POST", "/api/v1/events", key, body))
            head = await stream.readuntil(b"\r\n\r\n")
            if b" 202 " not in head.split(b"\r\n")[0]:
                raise RuntimeError(head.decode())
            await stream.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        sent += 1
    writer.close()
    return sent


def wrong_in_the_end(server: Server, readers: list[Reader]) -> int:
    """Readers whose last list is not the one that the list route gives now."""
    wrong = 0
    for reader in readers:
        shown = [line["item_id"] for line in server.list_for(reader.user_id)["recommendations"]]
        wrong += shown != reader.shown
    return wrong


def deaf(server: Server, home: Home, number: int) -> list[socket.socket]:
    """Readers of one list that never read."""
    opened = []
    for place in range(number):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", server.port))
        user_id = f"deaf-{place // 10}"
        connection.sendall(request("GET", f"/api/v1/recs/{user_id}/stream?limit=100", home.token(user_id)))
        opened.append(connection)
    return opened


async def measure(server: Server, home: Home, given: argparse.Namespace) -> bool:
    """All figures; True if every goal is met."""
    before = resident_bytes(server.process.pid)
    readers = [Reader(f"user-{number:03}" if number < 200 else f"new-{number}") for number in range(given.connections)]
    tasks = [asyncio.create_task(reader.run(server.port, home.token(reader.user_id))) for reader in readers]
    if not await comes_true(lambda: all(reader.lists for reader in readers), START_SECONDS):
        raise RuntimeError(f"{sum(not reader.lists for reader in readers)} readers have no list")
    each = (resident_bytes(server.process.pid) - before) / len(readers)
    refusals = sum(reader.refusals for reader in readers)
    report(BENCHMARK, "memory per connection", each / 1_024, "kB", connections=len(readers), refusals=refusals)

    key = home.token("gateway", "events:write", "recs:admin")
    sent = await send_events(server, key, readers, given.events_per_second, given.seconds)
    await comes_true(lambda: all(reader.sent_at is None for reader in readers), SETTLE_SECONDS)
    seen = sorted(second for reader in readers for second in reader.seen)
    p95 = seen[int(len(seen) * 0.95)] * 1_000 if seen else float("inf")
    p50 = seen[len(seen) // 2] * 1_000 if seen else float("inf")
    unseen = sum(reader.sent_at is not None for reader in readers)
    report(BENCHMARK, "change seen, p95", p95, "ms", p50_ms=round(p50, 1), events=sent, seen=len(seen), unseen=unseen)
    wrong = await asyncio.to_thread(wrong_in_the_end, server, readers)
    report(BENCHMARK, "last list is not the present one", wrong, "readers")

    growth = await slow_readers(server, home, given.slow)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return p95 <= GOAL_MS and wrong == 0 and unseen == 0 and growth < 262_144 * given.slow


async def slow_readers(server: Server, home: Home, number: int) -> float:
    """What readers that do not read make the process hold after 30 changes of their lists, in bytes."""
    connections = await asyncio.to_thread(deaf, server, home, number)
    await asyncio.sleep(1)
    before = resident_bytes(server.process.pid)
    for _ in range(30):
        for user_id in {f"deaf-{place // 10}" for place in range(number)}:
            shown = (await asyncio.to_thread(server.list_for, user_id))["recommendations"][0]["item_id"]
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
            event = {"type": "ItemInteracted", "user_id": user_id, "item_id": shown, "kind": "view", "timestamp": at}
            await asyncio.to_thread(server.send, user_id, [event])
    growth = resident_bytes(server.process.pid) - before
    report(BENCHMARK, "growth by readers that do not read", growth / 1_024, "kB", readers=number, changes=30)
    for connection in connections:
        connection.close()
    return growth


def main() -> int:
    """Exit 0 if every goal is met."""
    parser = argparse.ArgumentParser(prog=BENCHMARK, description=__doc__)
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--events-per-second", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--slow", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = demo_home(Path(folder), ENCORE_RATE_LIMIT_PER_MINUTE="1000000")
        with home.serve() as server:
            is_good = asyncio.run(measure(server, home, given))
            began = time.monotonic()
            code = server.stop()
            report(BENCHMARK, "stop", time.monotonic() - began, "s", exit_code=code)
    return 0 if is_good and code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
