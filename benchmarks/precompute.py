"""Hits after a change of model, with and without precomputing: `python -m benchmarks.precompute`.

One server on a Redis of its own, people asking for their lists by Zipf's law at a steady rate. A training is promoted
under that traffic; from the moment the server answers with the new model, lists are counted for a minute: computed ones
are misses. The second time, `encore precompute` runs right after the promotion. Exit 1 if then fewer than 85 % hit.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import report
from benchmarks.processes import Home, Server, demo_home, until
from tests.servers.fleet import obtain

PEOPLE, RATE, SECONDS, BAR = 400, 25.0, 60.0, 0.85


class Traffic:
    """Asks for lists, one after the other at a rate, and notes which model answered when."""

    def __init__(self, server: Server, tokens: Mapping[str, str]) -> None:
        self._server, self._tokens = server, tokens
        self._people, self._draw = list(tokens), random.Random(5)
        self._weights = [1 / rank for rank in range(1, len(self._people) + 1)]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.model = ""

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._stopping.wait(1 / RATE):
            [user] = self._draw.choices(self._people, self._weights)
            self.model = str(ask(self._server, user, self._tokens[user])["model"]["id"])


def ask(server: Server, user: str, token: str) -> dict[str, Any]:
    """A list."""
    url = f"http://127.0.0.1:{server.port}/api/v1/recs/{user}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def counted(server: Server) -> tuple[float, float]:
    """(lists answered, lists computed) since the server's start."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    lists = sum(float(line.split()[-1]) for line in lines if line.startswith("encore_lists_total{"))
    made = sum(
        float(line.split()[-1]) for line in lines if line.startswith('encore_stage_seconds_count{stage="history"')
    )
    return lists, made


def after_a_swap(home: Home, server: Server, traffic: Traffic, precompute: Sequence[str]) -> dict[str, float]:
    """Train under traffic, precompute if told to, and count for a minute from the first answer of the new model."""
    before = traffic.model
    home.run("train", ok=False)
    began = time.monotonic()
    making = home.start(*precompute) if precompute else None
    for _ in until(30):
        if traffic.model != before:
            break
    else:
        raise RuntimeError("the server did not take the new model: was it promoted?")
    lists, made = counted(server)
    time.sleep(SECONDS)
    later_lists, later_made = counted(server)
    if making is not None:
        making.wait(120)
    asked = later_lists - lists
    return {
        "hits": 1 - (later_made - made) / asked,
        "lists": asked,
        "swap_s": round(time.monotonic() - began - SECONDS, 1),
    }


def main() -> int:
    """Both, and the bar."""
    redis = obtain("redis")
    try:
        with tempfile.TemporaryDirectory() as folder:
            home = demo_home(Path(folder), ENCORE_RATE_LIMIT_PER_MINUTE="1000000", ENCORE_TRAIN_GATE_MARGIN="-1")
            shared = {
                "ENCORE_CACHE_URL": redis.url,
                "ENCORE_OPERATIONS_OPEN": "true",
                "ENCORE_TRAIN_TIME_BUDGET_SECONDS": "2",
            }
            home = replace(home, settings={**home.settings, **shared})
            people = [f"user-{number:03d}" for number in range(1, PEOPLE + 1)]
            tokens = {user: home.token(user, "recs:read") for user in people}
            random.Random(3).shuffle(people)
            with home.serve() as server, Traffic(server, {user: tokens[user] for user in people}) as traffic:
                time.sleep(10)
                for name, command in (("without", []), ("with", ["precompute", "--seconds", "60"])):
                    found = after_a_swap(home, server, traffic, command)
                    report("precompute", f"hits in the minute after a swap, {name}", found["hits"], "ratio", **found)
    finally:
        redis.stop()
    return 0 if found["hits"] >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
