"""Servers break under load: what callers notice, row by row of the test plan. One JSON line a row; exit 1 if one fails.

python -m benchmarks.outages --seconds 60                all rows
python -m benchmarks.outages --seconds 5 redis frozen    some of them

redis     C2: 100 requests a second; the cache killed for so long, then frozen for so long
frozen    D1: 200 at once, PostgreSQL frozen for half as long; afterwards its connections are whole and idle
aborted   D2: 1,500 requests whose callers hang up, and live ones beside them
crashes   D4: PostgreSQL ended without a checkpoint ten times under load
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from benchmarks.machine import report
from benchmarks.open_loop import OpenLoop, ask, failures, quantile_ms, statuses, token_of
from tests.servers.encore import SECRET
from tests.servers.process import ServerProcess
from tests.servers.world import Api, World, make_world

BENCHMARK = "outages"
PER_SECOND = 100.0
USERS = tuple(f"user-{number:03}" for number in range(1, 101))
QUICK_SECONDS = 1.5
"""Bar D1: every answer within this time, whatever is stuck."""
MAX_CONNECTIONS = 20
RECOVERY_SECONDS = 10.0
SETTLE_SECONDS = 1.5
"""Less than the limit for transactions that nobody ends (2 s in this world), which would hide a leak."""

Facts = dict[str, object]
Row = Callable[[World, Api, float], Coroutine[None, None, tuple[bool, Facts]]]


def port_of(api: Api) -> int:
    """Where it listens."""
    return int(urlsplit(api.address).port or 0)


async def redis_row(world: World, api: Api, seconds: float) -> tuple[bool, Facts]:
    """Killed, back, frozen, back: no answer fails, and the slowest ones are those of the first second."""
    redis, load = world.servers["redis"].control, OpenLoop([port_of(api)], USERS, SECRET, PER_SECOND)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(max(2.0, seconds / 4))
    usual = quantile_ms(load.seen, 0.99)
    facts: Facts = {"usual_p99_ms": round(usual, 1)}
    for name, hurt, heal in (("killed", redis.kill, redis.restart), ("frozen", redis.pause, redis.resume)):
        began = load.now
        await asyncio.to_thread(hurt)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(heal)
        healed = load.now
        await asyncio.sleep(max(3.0, seconds / 4))
        first, later = load.between(began, began + 1), load.between(began + 1, healed)
        facts[f"{name}_first_second_added_p99_ms"] = round(quantile_ms(first, 0.99) - usual, 1)
        facts[f"{name}_added_p99_ms"] = round(quantile_ms(later, 0.99) - usual, 1)
        facts[f"{name}_after_p99_ms"] = round(quantile_ms(load.between(healed + 2, load.now), 0.99), 1)
    load.stop()
    await running
    return not failures(load.seen), {**facts, "statuses": statuses(load.seen)}


async def frozen_row(world: World, api: Api, seconds: float) -> tuple[bool, Facts]:
    """Everybody is answered in time while nothing answers us; then every connection is whole again."""
    postgres, port = world.servers["postgres"].control, port_of(api)
    began, loop = asyncio.get_running_loop().time(), asyncio.get_running_loop()
    slowest, answers = 0.0, dict[int, int]()
    before = wakings(api.metrics())
    await asyncio.to_thread(postgres.pause)

    async def caller(number: int) -> None:
        nonlocal slowest
        user = f"user-{number + 1:03}"
        token = token_of(user, SECRET)
        while loop.time() - began < seconds / 2:
            sent = loop.time()
            status = await ask(port, user, token)
            slowest, answers[status] = max(slowest, loop.time() - sent), answers.get(status, 0) + 1
            await asyncio.sleep(0.5)

    await asyncio.gather(*(caller(number) for number in range(200)))
    lag = lag_p99_ms(before, wakings(await asyncio.to_thread(api.metrics)))
    await asyncio.to_thread(postgres.resume)
    connections = await settled(world)
    held = (
        slowest <= QUICK_SECONDS
        and set(answers) <= {200, 503}
        and sum(connections.values()) <= MAX_CONNECTIONS
        and set(connections) <= {"idle"}
    )
    shown = {str(status): count for status, count in answers.items()}
    facts: Facts = {"statuses": shown, "connections": dict(connections), "loop_lag_p99_below_ms": lag}
    return held, {"slowest_seconds": round(slowest, 2), **facts}


def wakings(metrics: str) -> Mapping[float, float]:
    """How often the server's loop woke a timer so late or less: bucket (seconds) → count."""
    found = re.findall(r'^encore_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', metrics, re.MULTILINE)
    return {float(bucket): float(wakings) for bucket, wakings in found}


def lag_p99_ms(before: Mapping[float, float], after: Mapping[float, float]) -> float:
    """The bucket that holds all but one in a hundred of the timers in between."""
    grown = {bucket: count - before[bucket] for bucket, count in after.items()}
    return min(bucket for bucket, count in grown.items() if count >= 0.99 * max(grown.values())) * 1_000


async def aborted_row(world: World, api: Api, seconds: float, *, aborted: int = 1_500) -> tuple[bool, Facts]:
    """Callers who hang up after a few milliseconds cost those who wait for their answer nothing that lasts."""
    port, load = port_of(api), OpenLoop([port_of(api)], USERS[:50], SECRET, PER_SECOND / 2)
    running = asyncio.create_task(load.run())
    for number in range(aborted):
        user = f"user-{number % 300 + 100:03}"
        await hang_up(port, user, token_of(user, SECRET), 0.002 * (number % 5))
        await asyncio.sleep(seconds / aborted)
    load.stop()
    await running
    connections = await settled(world)
    good = sum(each.status == 200 for each in load.seen) / len(load.seen)
    facts: Facts = {"aborted": aborted, "goodput": round(good, 3), "connections": dict(connections)}
    return good >= 0.8 and set(connections) <= {"idle"}, {**facts, "statuses": statuses(load.seen)}


async def hang_up(port: int, user: str, token: str, after_seconds: float) -> None:
    """Ask, and close before the answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET /api/v1/recs/{user}?explain=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(request.encode())
    await asyncio.sleep(after_seconds)
    writer.transport.abort()


async def crashes_row(world: World, api: Api, seconds: float) -> tuple[bool, Facts]:
    """Ten crashes: lists go on, and personal ones are back within seconds of the server."""
    postgres, port = world.servers["postgres"].control, port_of(api)
    load = OpenLoop([port], USERS, SECRET, PER_SECOND / 2)
    running, slowest_back = asyncio.create_task(load.run()), 0.0
    for _ in range(10):
        await asyncio.sleep(seconds / 20)
        await asyncio.to_thread(crash, postgres)
        await asyncio.sleep(seconds / 20)
        await asyncio.to_thread(postgres.restart)
        began = load.now
        for _ in range(int(RECOVERY_SECONDS / 0.1)):
            if await asyncio.to_thread(is_read, api):
                break
            await asyncio.sleep(0.1)
        slowest_back = max(slowest_back, load.now - began)
    load.stop()
    await running
    lost = sum(each.status not in (200, 503) for each in load.seen)
    facts: Facts = {"crashes": 10, "back_after_seconds": round(slowest_back, 2), "statuses": statuses(load.seen)}
    return not lost and slowest_back <= 5.0, facts


def crash(postgres: ServerProcess) -> None:
    """As `pg_ctl -m immediate` does, but harder."""
    postgres.kill()


_newcomers = count()


def is_read(api: Api) -> bool:
    """True if the database is asked about somebody new, and answers."""
    reply = api.list_of(f"newcomer-{next(_newcomers)}")
    return reply.status == 200 and reply.body["fallback_reason"] != "database_unavailable"


async def settled(world: World) -> Mapping[str, int]:
    """The connections once all are idle, or after a while: what the process does by itself takes moments."""
    for _ in range(int(SETTLE_SECONDS / 0.2)):
        connections = await connections_of(world)
        if set(connections) <= {"idle"}:
            break
        await asyncio.sleep(0.2)
    return connections


async def connections_of(world: World) -> Mapping[str, int]:
    """Connections of the API process by state."""
    dsn = world.servers["postgres"].url.replace("+asyncpg", "")
    connection = await asyncpg.connect(dsn, timeout=5, command_timeout=5)
    query = (
        "SELECT state, count(*) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY state"
    )
    try:
        return {str(row["state"]): int(row["count"]) for row in await connection.fetch(query)}
    finally:
        await connection.close()


ROWS: Mapping[str, Row] = {"redis": redis_row, "frozen": frozen_row, "aborted": aborted_row, "crashes": crashes_row}


def run_row(world: World, name: str, seconds: float) -> bool:
    """One row with an API process of its own; its figures are printed."""
    with Api(world, ENCORE_CACHE_URL=world.servers["redis"].url, ENCORE_MAX_CONCURRENT_REQUESTS="256") as api:
        for user in USERS:
            api.list_of(user)
        held, facts = asyncio.run(ROWS[name](world, api, seconds))
        live = api.ask("/health/live").status == 200
    report(BENCHMARK, f"{name} held", float(held and live), "of 1", seconds=seconds, **facts)
    return held and live


def main() -> int:
    """Exit 0 if every row held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], default=[])
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder))
        try:
            held = [run_row(world, name, options.seconds) for name in options.rows or ROWS]
        finally:
            world.stop()
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
