"""Who is in which arm: uniform, independent between layers, kept while shares grow, the same everywhere.

python -m benchmarks.assignments [users]        default 1,000,000; PostgreSQL is started where its programs are found

Each store is read by a process of its own, which prints a digest of everybody's arms.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

import numpy as np
from scipy import special

from app.domain.experiments import (
    BUCKETS,
    Arm,
    Experiment,
    ExperimentStatus,
    Metric,
    allocated,
    assigned,
    bucket_of,
    moved,
)
from app.infrastructure.database import open_database
from app.infrastructure.database.migrate import migrate
from benchmarks.machine import report
from tests.servers.postgres import start_postgres

BENCHMARK = "assignments"
NOW = datetime(2026, 11, 29, tzinfo=UTC)
TIMEOUT_SECONDS = 600
DRAFT = Experiment(
    "e1",
    "Assignments",
    "",
    "lists",
    "a salt of its own",
    0.1,
    (Arm("control", 0.4), Arm("one", 0.3), Arm("two", 0.3)),
    Metric.HIT_RATE,
    (),
    ExperimentStatus.DRAFT,
    (),
    NOW,
)
OTHER = ((700, 1_900),)
"""Buckets that another experiment of the layer owns."""


def chi_squared(counted: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> float:
    """The chance of counts at least as uneven, if all are equally likely."""
    expected = counted.sum() / counted.size
    return float(special.chdtrc(counted.size - 1, float(((counted - expected) ** 2 / expected).sum())))


def grown(share: float) -> Experiment:
    """The experiment as it runs at this share, having grown from a tenth."""
    first = replace(moved(DRAFT, ExperimentStatus.RUNNING, NOW), buckets=allocated((), [OTHER], 0.1))
    return replace(first, share=share, buckets=allocated(first.buckets, [OTHER], share))


def arms(experiment: Experiment, users: int) -> list[str | None]:
    """The arm of each user; None outside."""
    found = (assigned(experiment, f"user-{number}") for number in range(users))
    return [None if one is None else one.arm.name for one in found]


def digest(names: list[str | None]) -> str:
    """One text for everybody's arms."""
    return blake2b("\n".join(name or "" for name in names).encode(), digest_size=16).hexdigest()


async def stored(url: str, experiment: Experiment | None = None) -> Experiment:
    """Write the experiment if one is given; read it back."""
    database = await open_database(url, pool_size=2, timeout_seconds=10, lease_seconds=60)
    try:
        if experiment is not None:
            await database.experiments.add(experiment)
        found = await database.experiments.get(DRAFT.experiment_id)
    finally:
        await database.close()
    assert found is not None
    return found


def elsewhere(url: str, users: int) -> str:
    """The digest that another process finds in this store."""
    command = [sys.executable, "-m", "benchmarks.assignments", "--read", url, str(users)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    return done.stdout.strip()


def uniformity(users: int) -> None:
    """Buckets of one layer, and of two together."""
    began = time.process_time()
    one = np.array([bucket_of("lists", f"user-{number}") for number in range(users)])
    seconds = time.process_time() - began
    other = np.array([bucket_of("ranking", f"user-{number}") for number in range(users)])
    report(BENCHMARK, "uniform", chi_squared(np.bincount(one, minlength=BUCKETS)), "p", users=users, buckets=BUCKETS)
    together = np.bincount(one // 100 * 100 + other // 100, minlength=BUCKETS)
    report(BENCHMARK, "layers_independent", chi_squared(together), "p", users=users, cells=BUCKETS)
    report(BENCHMARK, "layers_correlation", float(np.corrcoef(one, other)[0, 1]), "r", users=users)
    report(BENCHMARK, "bucket", seconds / users * 1e6, "us")


def growth(users: int) -> list[str | None]:
    """From 10 % to 50 %: nobody leaves, nobody changes arms."""
    small, large = arms(grown(0.1), users), arms(grown(0.5), users)
    lost = sum(before is not None and before != after for before, after in zip(small, large, strict=True))
    share = sum(name is not None for name in large) / users
    report(BENCHMARK, "lost_by_growing", lost, "users", was=sum(name is not None for name in small), share=share)
    return large


def everywhere(users: int, here: str) -> int:
    """SQLite and PostgreSQL, each read by a process of its own; how many differ."""
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        urls = {"sqlite": f"sqlite+aiosqlite:///{Path(folder) / 'encore.db'}"}
        server = start_postgres()
        try:
            urls["postgresql"] = server.url
            for name, url in urls.items():
                migrate(url)
                asyncio.run(stored(url, grown(0.5)))
                is_same = elsewhere(url, users) == here
                different += not is_same
                report(BENCHMARK, "same_in_another_process", is_same, "bool", store=name, users=users)
        finally:
            server.stop()
    return different


def main() -> int:
    """Exit 1 where somebody was lost, or stands in another arm elsewhere."""
    if sys.argv[1:2] == ["--read"]:
        print(digest(arms(asyncio.run(stored(sys.argv[2])), int(sys.argv[3]))))
        return 0
    users = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    uniformity(users)
    return 1 if everywhere(users, digest(growth(users))) else 0


if __name__ == "__main__":
    sys.exit(main())
