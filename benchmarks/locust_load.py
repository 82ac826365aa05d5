"""Load by locust, with thresholds that fail: `python -m benchmarks.locust_load [SECONDS]` (`make load`).

Starts a demo server of its own; users ask for lists, similar items and now and then send an event. Exit 1 where there
were too few requests (a run that did nothing must not pass), where too many failed, or where p99 is above the bound.
Locust measures itself first on two cores: the bounds are for regressions of a kind, not for promises of speed.
"""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import report
from benchmarks.processes import ROOT, demo_home

PEOPLE = 50
TOKENS = "ENCORE_LOCUST_TOKENS"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a run must keep: requests a second, share of failures, p99 in milliseconds."""

    min_per_second: float = 20.0
    max_failed: float = 0.001
    max_p99_ms: float = 500.0


def broken(figures: Mapping[str, float], seconds: float, bounds: Thresholds) -> list[str]:
    """Every threshold that these figures of a run break, in words."""
    requests, failures = figures["requests"], figures["failures"]
    problems = []
    if requests < bounds.min_per_second * seconds:
        problems.append(f"{requests:.0f} requests in {seconds:.0f} s: fewer than {bounds.min_per_second:g} a second")
    if failures > bounds.max_failed * max(requests, 1):
        problems.append(f"{failures:.0f} of {requests:.0f} requests failed")
    if figures["p99_ms"] > bounds.max_p99_ms:
        problems.append(f"p99 {figures['p99_ms']:.0f} ms: above {bounds.max_p99_ms:g}")
    return problems


def figures_of(folder: Path) -> Mapping[str, float]:
    """Requests, failures and p99 of locust's own summary; zeros where it wrote none."""
    stats = folder / "load_stats.csv"
    rows = list(csv.DictReader(stats.read_text().splitlines())) if stats.exists() else []
    for row in rows:
        if row["Name"] == "Aggregated":
            p99 = row["99%"]
            return {
                "requests": float(row["Request Count"]),
                "failures": float(row["Failure Count"]),
                "p99_ms": float(p99) if p99 not in ("", "N/A") else 0.0,
            }
    return {"requests": 0.0, "failures": 0.0, "p99_ms": 0.0}


def main(seconds: float = 30.0) -> int:
    """Run it; 1 if a threshold is broken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = demo_home(folder, ENCORE_RATE_LIMIT_PER_MINUTE="1000000")
        people = [f"user-{number:03d}" for number in range(1, PEOPLE + 1)]
        tokens = " ".join(f"{user}={home.token(user, 'recs:read', 'events:write')}" for user in people)
        with home.serve() as server:
            command = [sys.executable, "-m", "locust", "--headless", "-f", str(ROOT / "benchmarks" / "locustfile.py")]
            command += ["-u", "8", "-r", "8", "-t", f"{seconds:.0f}s", "-H", f"http://127.0.0.1:{server.port}"]
            command += ["--csv", str(folder / "load"), "--only-summary"]
            environment = {**os.environ, TOKENS: tokens, "PYTHONPATH": str(ROOT)}
            subprocess.run(command, check=False, env=environment, timeout=seconds + 120)
        figures = figures_of(folder)
    problems = broken(figures, seconds, Thresholds())
    rate = figures["requests"] / seconds
    report("locust_load", "rate", rate, "requests/s", **figures, problems=problems)
    return 1 if problems else 0


def person() -> tuple[str, dict[str, str]]:
    """One of the demo's people, with a token: for the locustfile."""
    user, _, token = random.choice(os.environ[TOKENS].split()).partition("=")
    return user, {"Authorization": f"Bearer {token}"}


if __name__ == "__main__":
    sys.exit(main(*(float(each) for each in sys.argv[1:2])))
