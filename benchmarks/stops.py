"""SIGTERM at random moments under load (O3): no request fails, none is refused while draining, exit 0 in time.

`python -m benchmarks.stops [--stops 50] [--seed 0]`. Prints one JSON line; exit 1 unless every stop was clean.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from benchmarks.machine import report
from benchmarks.open_loop import OpenLoop, Seen, failures, statuses
from benchmarks.processes import Home, Server, demo_home

BENCHMARK = "stops"
PER_SECOND = 60.0
DRAIN_SECONDS = 1.0
STILL_SENT_SECONDS = 0.7
"""Balancers go on sending for a while after a server has turned not ready: less than the drain."""
BAR_SECONDS = 25.0
USERS = tuple(f"user-{number:03}" for number in range(1, 61))
SETTINGS = {"ENCORE_DRAIN_SECONDS": str(DRAIN_SECONDS), "ENCORE_RATE_LIMIT_PER_MINUTE": "1000000"}


@dataclass
class Tally:
    """What all stops have shown."""

    seen: list[Seen] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Nothing failed, nothing was turned away, every process ended with 0 in time."""
        on_time = max(self.seconds) <= BAR_SECONDS
        return (
            not failures(self.seen) and set(statuses(self.seen)) == {"200"} and set(self.exit_codes) == {0} and on_time
        )


async def stop_under_load(server: Server, after_seconds: float, tally: Tally) -> None:
    """Load, SIGTERM in the middle of it, and what became of everybody."""
    load = OpenLoop([server.port], USERS, server.home.secret, PER_SECOND)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(after_seconds)
    told = monotonic()
    server.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(STILL_SENT_SECONDS)
    load.stop()
    await running
    tally.exit_codes.append(await asyncio.to_thread(server.process.wait, 60))
    tally.seconds.append(monotonic() - told)
    tally.seen += load.seen


def prove(home: Home, stops: int, seed: int) -> Tally:
    """So many stops, each of a new process."""
    tally, draw = Tally(), random.Random(seed)
    for _ in range(stops):
        with home.serve() as server:
            asyncio.run(stop_under_load(server, draw.uniform(0.02, 1.0), tally))
    return tally


def main() -> int:
    """Exit 0 if every stop was clean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = prove(demo_home(Path(folder), **SETTINGS), options.stops, options.seed)
    report(
        BENCHMARK,
        "requests that failed",
        failures(tally.seen),
        f"of {len(tally.seen)}",
        stops=options.stops,
        statuses=statuses(tally.seen),
        exit_codes=sorted(set(tally.exit_codes)),
        slowest_stop_seconds=round(max(tally.seconds), 1),
    )
    return 0 if tally.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
