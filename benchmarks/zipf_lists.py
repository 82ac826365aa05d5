"""Cached lists for many people: 100,000 users, of whom few ask often and most hardly ever (Zipf), beside 500 who all
ask alike; in one run, each round with a server of its own and the default sizes of the caches.

`python -m benchmarks.zipf_lists [--users 100000] [--draws 60000]`. Everybody who is drawn asked twice before: the
figures are of hits, and of the misses that the bounds of the caches cause. `server_us` is processor time per request.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.cached_lists import LOAD_CORE, SERVER_CORE, bearer, warm
from benchmarks.load import Request, put_load
from benchmarks.machine import report, resident_bytes
from benchmarks.processes import Home, demo_home

BENCHMARK = "zipf_lists"
EXPONENT = 1.0
"""Of user k's share, 1 / k ** EXPONENT: the usual one of what people ask for on the web (Breslau et al. 1999: .64–.83;
higher is kinder to a cache, lower touches more users).
"""
FEW, ROUNDS, SECONDS, CONNECTIONS = 500, 3, 6.0, 32


def drawn(users: int, draws: int, exponent: float) -> Sequence[int]:
    """`draws` user numbers, below `users`, by Zipf."""
    shares = 1.0 / np.arange(1, users + 1) ** exponent
    numbers = np.random.default_rng(7).choice(users, draws, p=shares / shares.sum())
    return [int(number) for number in numbers]


def requests_of(home: Home, numbers: Sequence[int]) -> Sequence[Request]:
    """One request per draw, each person's with one token of their own."""
    tokens = {number: bearer(home.token(f"person-{number:06}", "recs:read")) for number in sorted(set(numbers))}
    return [(f"/api/v1/recs/person-{number:06}", tokens[number]) for number in numbers]


def measured(home: Home, name: str, numbers: Sequence[int]) -> float:
    """Report a round of requests; returns the server's processor time per request, in microseconds."""
    requests = requests_of(home, numbers)
    distinct = list(dict(requests).items())
    with home.serve(core=SERVER_CORE) as server:
        warm(server, distinct)
        pid, port = server.process.pid, server.port
        found = [
            put_load(port, requests, connections=CONNECTIONS, seconds=SECONDS, core=LOAD_CORE, server_pid=pid)
            for _ in range(ROUNDS)
        ]
        median = sorted(found, key=lambda result: result.server_us)[len(found) // 2]
        report(
            BENCHMARK,
            name,
            median.per_second,
            "requests/s",
            people=len(distinct),
            p50_ms=round(median.p50_ms, 2),
            p99_ms=round(median.p99_ms, 2),
            server_us=round(median.server_us, 1),
            failures=sum(result.failures for result in found),
            memory_mib=round(resident_bytes(pid) / 1_048_576, 1),
        )
    return median.server_us


def main() -> None:
    """Print both figures and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--draws", type=int, default=60_000)
    parser.add_argument("--exponent", type=float, default=EXPONENT)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = demo_home(Path(folder), ENCORE_RATE_LIMIT_PER_MINUTE="1000000")
        few = measured(home, "few", list(range(FEW)))
        many = measured(home, "many", drawn(given.users, given.draws, given.exponent))
    report(BENCHMARK, "a request of many beside one of few", many / few, "times", users=given.users)


if __name__ == "__main__":
    main()
