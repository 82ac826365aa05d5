"""Clients cancelled at random moments, from the first connection to the end of closing: nothing of them stays open.

`python -m benchmarks.cancellations [KIND …] [--count 300] [--seed 1]`: kafka-source, kafka-publisher, kafka-admin,
redis, redis-listener, postgres, sqlite, s3, files, celery (all of them). Each is opened, used and closed as a process
does it, in a task that is cancelled at a random moment, one in four a second time soon after. Counted when the task has
ended and the loop has turned ten times: sockets, open files, tasks, threads; and what the interpreter complained about.
One line a kind; exit 1 if anything was left.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.domain.exceptions import EncoreError
from benchmarks.clients import USES, Use, server_of
from benchmarks.machine import report
from tests import leftovers
from tests.servers.fleet import Fleet

BENCHMARK = "cancellations"
AGAIN = 0.25
"""The share of cancelled tasks that are cancelled a second time."""

SETTLE_TURNS, SETTLE_SECONDS = 10, 2.0
WARM_UP = 3


@dataclass(slots=True)
class Left:
    """What stayed behind, over all cancellations."""

    cancelled: int = 0
    finished: int = 0
    failed: int = 0
    sockets: int = 0
    files: int = 0
    tasks: int = 0
    threads: int = 0
    complaints: Counter[str] = field(default_factory=Counter)

    @property
    def is_nothing(self) -> bool:
        return not (self.sockets or self.files or self.tasks or self.threads or self.complaints)


async def cancelled_at_random(use: Callable[[], Awaitable[None]], count: int, seed: int, folder: Path) -> Left:
    """Run `use` `count` times, each cancelled at a moment drawn from its usual length. Raises what `use` raises."""
    draw, left = random.Random(seed), Left()
    usual = 0.0
    for _ in range(WARM_UP):
        began = time.perf_counter()
        await use()
        usual = time.perf_counter() - began
    await _turn()
    with leftovers.heard() as complaints:
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: complaints.note("loop", f"{context['message']}: {context.get('exception')!r}")
        )
        for _ in range(count):
            before = leftovers.sockets(), leftovers.files(str(folder)), leftovers.threads()
            await _cancelled(asyncio.ensure_future(use()), draw, usual, left)
            await _turn()
            left.tasks += len(leftovers.tasks())
            for task in leftovers.tasks():
                task.cancel()  # what is left must be counted once
            left.sockets += await _settled(lambda: len(leftovers.sockets() - before[0]))  # noqa: B023 - called at once
            left.files += await _settled(lambda: len(leftovers.files(str(folder)) - before[1]))  # noqa: B023 - the same
            left.threads += await _settled(lambda: len(leftovers.threads() - before[2]))  # noqa: B023 - the same
    left.complaints.update(complaints.lines)
    return left


async def _cancelled(task: asyncio.Future[None], draw: random.Random, usual: float, left: Left) -> None:
    await asyncio.sleep(draw.uniform(0, 1.1 * usual))
    task.cancel()
    if draw.random() < AGAIN:
        await asyncio.sleep(draw.choice((0, 0, 0.001, 0.005)))
        task.cancel()
    await asyncio.wait({task})
    if task.cancelled():
        left.cancelled += 1
        return
    try:
        task.result()
        left.finished += 1
    except* EncoreError:  # on a busy machine a short timeout may pass; what was opened by then must be closed as well
        left.failed += 1


async def _turn() -> None:
    for _ in range(SETTLE_TURNS):
        await asyncio.sleep(0)


async def _settled(count: Callable[[], int]) -> int:
    # not on the loop: what needs another turn of it is left
    return leftovers.settled(count, SETTLE_SECONDS)


def measure(kind: str, count: int, seed: int, url: str, folder: Path) -> Left:
    """Cancel one kind of client."""
    use: Use = USES[kind]
    return asyncio.run(cancelled_at_random(lambda: use(url, folder), count, seed, folder))


def main() -> int:
    """Exit 0 if nothing was left behind."""
    parser = argparse.ArgumentParser(prog="cancellations", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(USES))
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(USES):
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    kinds = given.kinds or list(USES)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it describes what we ordered
    fleet, is_clean = Fleet(), True
    fleet.begin({server for kind in kinds if (server := server_of(kind))})
    try:
        for kind in kinds:
            is_clean &= _proved(kind, given.count, given.seed, fleet)
    finally:
        fleet.stop()
    return 0 if is_clean else 1


def _proved(kind: str, count: int, seed: int, fleet: Fleet) -> bool:
    url, environment = "", {}
    if name := server_of(kind):
        server = fleet.get(name)
        url, environment = server.url, dict(server.environment)
    os.environ.update(environment)
    with tempfile.TemporaryDirectory() as folder:
        left = measure(kind, count, seed, url, Path(folder))
    report(
        BENCHMARK,
        kind,
        left.sockets + left.files + left.tasks + left.threads,
        "left open",
        cancelled=left.cancelled,
        finished_before=left.finished,
        failed=left.failed,
        sockets=left.sockets,
        files=left.files,
        tasks=left.tasks,
        threads=left.threads,
        complaints=dict(left.complaints.most_common(5)),
        seed=seed,
    )
    return left.is_nothing


if __name__ == "__main__":
    sys.exit(main())
