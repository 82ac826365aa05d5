"""What tracing costs a cached list: off, 1 % and 100 % of the requests: `python -m benchmarks.tracing_price [TURNS]`.

One process, called as ASGI without sockets, the three in turns of 50 requests, so that whatever else the machine does
meets all alike; processor time of the event loop's thread, the lower quartile of the turns. `off again` is the same as
`off`: how far the two differ is what this machine cannot tell. Spans are exported, by a thread of the SDK, to a
collector in a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.machine import report
from benchmarks.processes import Home, demo_home

ROUNDS, TURN, WARM = 200, 50, 400
BENCHMARK = "tracing_price"
SHARES: Mapping[str, float | None] = {"off": None, "1 %": 0.01, "100 %": 1.0, "off again": None}


def collect_elsewhere(pipe: Connection) -> None:
    """A collector that tells its address and lives until it is told to stop."""
    from tests.servers.collector import collecting

    with collecting() as collector:
        pipe.send(collector.url)
        pipe.recv()


def main(rounds: int = ROUNDS) -> Mapping[str, float]:
    """Print and return the processor time of one cached list in µs, by share."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    receiver = context.Process(target=collect_elsewhere, args=(theirs,))
    receiver.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            home = demo_home(Path(folder), ENCORE_RATE_LIMIT_PER_MINUTE="1000000")
            times = asyncio.run(measured(home, ours.recv(), rounds))
    finally:
        ours.send("stop")
        receiver.join(10)
    found = {name: statistics.quantiles(each, n=4)[0] for name, each in times.items()}
    for name, price in found.items():
        more = 100 * (price / found["off"] - 1)
        report(BENCHMARK, f"cached list, {name}", price, "µs", percent_more=round(more, 1), turns=rounds)
    return found


async def measured(home: Home, collector: str, rounds: int) -> Mapping[str, list[float]]:
    """µs a request of each turn, by share."""
    from app import spans
    from app.config import Settings
    from app.infrastructure.tracing import open_tracing
    from app.log_format import configure_logging
    from app.main import create_app

    configure_logging("WARNING")
    fields = {
        name.removeprefix("ENCORE_").lower(): value for name, value in home.environment.items() if name[:7] == "ENCORE_"
    }
    app = create_app(Settings(**fields))  # type: ignore[arg-type]  # pydantic reads the texts
    tracing = open_tracing(collector, "0", "api", 1.0)
    assert tracing is not None
    tracer = tracing.tracer
    spans.stop_collecting(tracer)
    call = caller(app, home.token("user-001", "recs:read"))
    times: dict[str, list[float]] = {name: [] for name in SHARES}
    async with app.router.lifespan_context(app):
        for _ in range(WARM):
            await call()
        gc.collect()
        gc.freeze()
        for _ in range(rounds):
            for name, share in SHARES.items():
                if share is not None:
                    spans.collect(tracer, share)
                began = time.thread_time_ns()
                for _ in range(TURN):
                    await call()
                times[name].append((time.thread_time_ns() - began) / TURN / 1_000)
                spans.stop_collecting(tracer)
    await tracing.close()
    return times


def caller(app: Any, token: str) -> Callable[[], Any]:
    """Asks for one user's list as an ASGI server would; raises unless it is answered with 200."""
    path = "/api/v1/recs/user-001"
    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def call() -> None:
        statuses: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": list(headers),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await app(scope, receive, send)
        if statuses != [200]:
            raise RuntimeError(f"answered {statuses}")

    return call


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:2]))
