"""A list that is in the cache, with a token checked on every request, beside a bare FastAPI route in the same run.

Server on one core, load on another; each person's own token asks for that person's list. Medians of three rounds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.load import Request, Result, put_load
from benchmarks.machine import report, resident_bytes
from benchmarks.processes import Home, Server, demo_home, free_port, until

ROUNDS, SECONDS, CONNECTIONS, PEOPLE = 3, 5.0, 32, 400
SERVER_CORE, LOAD_CORE = 0, 1
BENCHMARK = "cached_lists"


def requests_of(home: Home, people: int = PEOPLE) -> Sequence[Request]:
    """One request per person, with a token of their own."""
    users = [f"user-{number:03d}" for number in range(1, people + 1)]
    return [(f"/api/v1/recs/{user}", {"Authorization": f"Bearer {home.token(user, 'recs:read')}"}) for user in users]


def warm(server: Server, requests: Sequence[Request]) -> None:
    """Ask for every list once."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    for path, headers in requests:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {answer.read()[:500]!r}")
        answer.read()
    connection.close()


@contextmanager
def bare_route(core: int) -> Iterator[int]:
    """The port of a FastAPI process that answers fixed bytes."""
    port = free_port()
    process = subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.bare", str(port)])
    try:
        for _ in until(30, pause=0.2):
            if _answers(port):
                break
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/v1/recs/u1")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _median(results: Sequence[Result]) -> Result:
    return sorted(results, key=lambda result: result.per_second)[len(results) // 2]


def main() -> None:
    """Print rate, latency, ratio to the bare route and memory."""
    with tempfile.TemporaryDirectory() as folder:
        home = demo_home(Path(folder), ENCORE_RATE_LIMIT_PER_MINUTE="1000000")
        requests = requests_of(home)
        with home.serve(core=SERVER_CORE) as server, bare_route(SERVER_CORE) as bare_port:
            warm(server, requests)
            ours: list[Result] = []
            bare: list[Result] = []
            for _ in range(ROUNDS):
                for port, results in ((server.port, ours), (bare_port, bare)):
                    results.append(put_load(port, requests, connections=CONNECTIONS, seconds=SECONDS, core=LOAD_CORE))
            memory = resident_bytes(server.process.pid)
    ours_median, bare_median = _median(ours), _median(bare)
    with_what = {"connections": CONNECTIONS, "people": PEOPLE, "token": "HS256", "cache": "memory", "server_cores": 1}
    report(
        BENCHMARK,
        "rate",
        ours_median.per_second,
        "requests/s",
        p50_ms=round(ours_median.p50_ms, 2),
        p99_ms=round(ours_median.p99_ms, 2),
        failures=sum(result.failures for result in ours),
        ratio_to_bare=round(statistics.median(a.per_second / b.per_second for a, b in zip(ours, bare, strict=True)), 2),
        **with_what,
    )
    report(
        BENCHMARK,
        "bare FastAPI route",
        bare_median.per_second,
        "requests/s",
        p50_ms=round(bare_median.p50_ms, 2),
        p99_ms=round(bare_median.p99_ms, 2),
        connections=CONNECTIONS,
    )
    report(BENCHMARK, "server memory", memory / 1_048_576, "MiB", people=PEOPLE, items=600)


if __name__ == "__main__":
    main()
