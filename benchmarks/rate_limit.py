"""Five hundred requests a minute are exact (C6): one user, twenty connections, two API processes, three minutes.

`python -m benchmarks.rate_limit [--windows 3] [--kills 100]`. Another user asks now and then and is never refused.
Then processes that count are killed at random moments: no key may be left without a time to live. Exit 1 if a bar was
missed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import redis

from benchmarks.machine import report
from benchmarks.open_loop import token_of
from benchmarks.processes import Home, demo_home
from tests.servers.process import dying_with_parent
from tests.servers.redis import start_redis

BENCHMARK = "rate_limit"
LIMIT, WINDOW_SECONDS, CONNECTIONS = 500, 60.0, 20
PAUSE_SECONDS = 0.15
"""Between two requests of a connection: some 130 a second in all, so that the limit is used up within seconds."""

SLACK_SECONDS = 0.5
"""Between the server's count and the answer's arrival here: this much of a window may be somebody else's."""

COUNTING = """
import asyncio, sys
from app.infrastructure.cache import open_cache

async def main():
    cache = await open_cache(sys.argv[1] + "?timeout_ms=1000", 0)
    await cache.ping()
    print("ready", flush=True)
    number = 0
    while True:
        number += 1
        await asyncio.gather(*(cache.read(f"u{number}-{each}", "v", 500) for each in range(20)))

asyncio.run(main())
"""


@dataclass
class Seen:
    """When requests were allowed (seconds since the start), and what else came."""

    allowed: list[float] = field(default_factory=list)
    refused: int = 0
    without_retry_after: int = 0
    others: int = 0
    idle_refused: int = 0


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str, token: str) -> tuple[int, bytes]:
    """(status, head) of one request on an open connection."""
    writer.write(
        f"GET /api/v1/recs/{user}?limit=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head[9:12]), head.lower()


async def press(port: int, user: str, token: str, until: float, began: float, seen: Seen) -> None:
    """One connection of the busy user."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        status, head = await ask(reader, writer, user, token)
        if status == 200:
            seen.allowed.append(time.monotonic() - began)
        elif status == 429:
            seen.refused += 1
            seen.without_retry_after += b"retry-after: " not in head
        else:
            seen.others += 1
        await asyncio.sleep(PAUSE_SECONDS)
    writer.close()


async def look_in(port: int, user: str, token: str, until: float, seen: Seen) -> None:
    """The other user, once a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        seen.idle_refused += (await ask(reader, writer, user, token))[0] != 200
        await asyncio.sleep(1.0)
    writer.close()


async def pressed(ports: Sequence[int], secret: str, windows: int) -> Seen:
    """The busy user on all connections for so many windows, the other one beside."""
    seen, began = Seen(), time.monotonic()
    until = began + windows * WINDOW_SECONDS
    busy, idle = token_of("user-001", secret), token_of("user-002", secret)
    await asyncio.gather(
        look_in(ports[0], "user-002", idle, until, seen),
        *(press(ports[each % len(ports)], "user-001", busy, until, began, seen) for each in range(CONNECTIONS)),
    )
    return seen


def most_in_a_window(moments: Sequence[float]) -> int:
    """The most that were allowed within a window, less the slack."""
    ordered, first, most = sorted(moments), 0, 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] >= WINDOW_SECONDS - SLACK_SECONDS:
            first += 1
        most = max(most, last - first + 1)
    return most


def exactness(home: Home, windows: int) -> bool:
    """The first half of the row."""
    with ExitStack() as stack:
        ports = [stack.enter_context(home.serve()).port for _ in range(2)]
        seen = asyncio.run(pressed(ports, home.secret, windows))
    in_each = [sum(n * WINDOW_SECONDS <= at < (n + 1) * WINDOW_SECONDS for at in seen.allowed) for n in range(windows)]
    most = most_in_a_window(seen.allowed)
    report(
        BENCHMARK,
        "most requests allowed in a minute",
        most,
        f"of {LIMIT}",
        in_each_window=in_each,
        refused=seen.refused,
        without_retry_after=seen.without_retry_after,
        other_statuses=seen.others,
        other_user_refused=seen.idle_refused,
    )
    is_told = not seen.without_retry_after and not seen.others and not seen.idle_refused
    # the last window may end before what it would have allowed comes free
    return most == LIMIT and in_each[0] == LIMIT and sum(in_each) > LIMIT * (windows - 1) and is_told


def kills(url: str, count: int) -> bool:
    """The second half: processes die while they count."""
    draw = random.Random(6)
    for _ in range(count):
        command = [*dying_with_parent(), sys.executable, "-c", COUNTING, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(draw.uniform(0, 0.05))
            process.kill()
    with redis.Redis.from_url(url) as client:
        keys, expiring = int(client.dbsize()), int(client.info("keyspace")["db0"]["expires"])
    report(BENCHMARK, "keys without a time to live", keys - expiring, "keys", keys=keys, kills=count)
    return keys == expiring > 0


def main() -> int:
    """Exit 0 if both bars were met."""
    parser = argparse.ArgumentParser(prog="rate_limit", description=__doc__)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--kills", type=int, default=100)
    given = parser.parse_args()
    server = start_redis()
    try:
        with tempfile.TemporaryDirectory() as folder:
            cache = f"{server.url}?timeout_ms=1000"
            home = demo_home(Path(folder), ENCORE_CACHE_URL=cache, ENCORE_RATE_LIMIT_PER_MINUTE=str(LIMIT))
            is_exact = exactness(home, given.windows)
        return 0 if kills(server.url, given.kills) and is_exact else 1
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
